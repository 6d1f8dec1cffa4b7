//! Random numbers that are a function of a key, and the few functions that turn them into a law.
//!
//! A [`Stream`] is SplitMix64 (Steele, Lea, Flood 2014) begun at a key; [`mix`] derives keys from keys, so that
//! row, cluster and purpose each own a stream and nothing has to be drawn in order. Logarithm and exponential
//! are written out in plain arithmetic: the system's differ in the last bit between machines, and a generated
//! set should be the same file everywhere. Not for secrets.

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A key from a key and a number: different pairs give unrelated keys.
#[must_use]
pub fn mix(key: u64, number: u64) -> u64 {
    finish(finish(key ^ 0x6A09_E667_F3BC_C909).wrapping_add(number.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// The random numbers of one key.
#[derive(Clone, Debug)]
pub struct Stream {
    state: u64,
}

impl Stream {
    /// The stream of a key.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self { state: key }
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        finish(self.state)
    }

    /// Uniform in [0, 1), 53 bits.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [0, bound); 0 when the bound is 0. The bias is below bound / 2^64.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// About standard normal: four uniform 16-bit numbers summed (kurtosis 2.7, nothing beyond 3.46). Every use
    /// here is followed by sums over many coordinates, which make up for the missing tail.
    #[inline]
    pub fn normal(&mut self) -> f32 {
        const LOW: u64 = 0x0000_FFFF_0000_FFFF;
        // Standard deviation of the sum: sqrt(4 * (2^32 - 1) / 12).
        const SCALE: f32 = 1.0 / 37_837.227;
        let z = self.bits();
        let pairs = (z & LOW) + ((z >> 16) & LOW);
        let sum = (pairs & 0xFFFF_FFFF) as i32 + (pairs >> 32) as i32;
        (sum - 2 * 0xFFFF) as f32 * SCALE
    }
}

/// Natural logarithm of a positive, finite, normal number; the same bits on every machine.
#[must_use]
pub fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7FF) as i64 - 1023;
    let mut m = f64::from_bits((bits & 0x000F_FFFF_FFFF_FFFF) | 0x3FF0_0000_0000_0000);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    // ln m = 2 atanh s; |s| < 0.172, so the first term left out is below 1e-18.
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = (0..11).rev().fold(0.0, |sum, i| sum * square + 1.0 / f64::from(2 * i + 1));
    2.0 * s * series + exponent as f64 * std::f64::consts::LN_2
}

/// e^x for |x| below 700; the same bits on every machine.
#[must_use]
pub fn exp(x: f64) -> f64 {
    let whole = (x * std::f64::consts::LOG2_E).round();
    let r = x - whole * std::f64::consts::LN_2;
    let series = (1..=16).rev().fold(1.0, |sum, i| 1.0 + sum * r / f64::from(i));
    series * f64::from_bits(((whole as i64 + 1023) as u64) << 52)
}

/// base^power for a positive base.
#[must_use]
pub fn pow(base: f64, power: f64) -> f64 {
    exp(power * ln(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithm_and_exponential_agree_with_the_system() {
        let mut stream = Stream::new(1);
        for _ in 0..10_000 {
            let x = (stream.unit() - 0.5) * 600.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-12, "exp {x}");
            let y = x.exp();
            assert!((ln(y) - x).abs() <= 1e-13 * x.abs().max(1.0), "ln {y}");
        }
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn normals_have_mean_zero_variance_one_and_no_correlation_along_the_stream() {
        let mut stream = Stream::new(mix(7, 3));
        let x: Vec<f64> = (0..200_000).map(|_| f64::from(stream.normal())).collect();
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|v| v * v).sum::<f64>() / n;
        let lag = x.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n;
        assert!(
            mean.abs() < 0.01 && (variance - 1.0).abs() < 0.01 && lag.abs() < 0.01,
            "{mean} {variance} {lag}"
        );
    }

    #[test]
    fn bounded_numbers_cover_their_range() {
        let mut stream = Stream::new(5);
        let mut seen = [0u32; 7];
        (0..7_000).for_each(|_| seen[stream.below(7) as usize] += 1);
        assert!(seen.iter().all(|&c| (800..1200).contains(&c)), "{seen:?}");
        assert_eq!(stream.below(0), 0);
    }
}
