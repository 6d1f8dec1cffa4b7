//! Rounding and sums in a form that compilers turn into vector code of any instruction set.
//!
//! Rounding functions of the standard library are calls where the base instruction set has no such
//! instruction, and a sum in one variable waits for each addition. Here rounding is an addition, and sums run
//! in eight lanes. Both have one fixed order, so every CPU gives the same bits. Always inlined: a caller that may use
//! more of the CPU (`quantise`) has them compiled for it.

/// Lanes of a sum.
const LANES: usize = 8;

/// 1.5 * 2^23: added to a number below 2^22 it leaves no bits for a fraction, and the integer in the low bits.
const NO_FRACTION: f32 = 12_582_912.0;

/// The integer nearest to `value`, ties to even, as a float; for magnitudes below 2^22.
#[inline(always)]
pub fn nearest_integer(value: f32) -> f32 {
    (value + NO_FRACTION) - NO_FRACTION
}

/// The integer nearest to `value`, ties to even; for magnitudes up to 127.
#[inline(always)]
pub fn nearest_i8(value: f32) -> i8 {
    (value + NO_FRACTION).to_bits() as i8
}

/// The odd integer nearest to `value`, either one of two; for `limit` odd, within `-limit..=limit`.
#[inline(always)]
pub fn nearest_odd(value: f32, limit: f32) -> f32 {
    let clamped = value.clamp(-limit, limit);
    2.0 * nearest_integer(clamped * 0.5 - 0.5) + 1.0
}

/// Sum of `term` over the elements of `a` and `b`, which are as long as each other.
#[inline(always)]
pub fn sum<A: Copy, B: Copy>(a: &[A], b: &[B], term: impl Fn(A, B) -> f64) -> f64 {
    debug_assert_eq!(a.len(), b.len());
    let mut lanes = [0.0f64; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| term(*a, *b)).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// The largest magnitude; 0 for none. NaN is passed over.
#[inline(always)]
pub fn largest(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(0.0f32, |most, x| most.max(x.abs()));
    for chunk in chunks {
        for lane in 0..LANES {
            let magnitude = chunk[lane].abs();
            lanes[lane] = if magnitude > lanes[lane] { magnitude } else { lanes[lane] };
        }
    }
    lanes.iter().fold(rest, |most, x| most.max(*x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_integer_with_ties_to_even() {
        for step in -127 * 64..=127 * 64 {
            let value = step as f32 / 64.0;
            assert_eq!(nearest_integer(value), value.round_ties_even());
            assert_eq!(f32::from(nearest_i8(value)), value.round_ties_even());
        }
    }

    #[test]
    fn the_nearest_odd_integer_is_at_most_one_away_and_within_the_limit() {
        for limit in [1.0, 3.0, 15.0] {
            for step in -20 * 64..=20 * 64 {
                let value = step as f32 / 64.0;
                let odd = nearest_odd(value, limit);
                assert!(odd.abs() <= limit && odd.rem_euclid(2.0) == 1.0, "{odd} for {value}");
                assert!((odd - value.clamp(-limit, limit)).abs() <= 1.0, "{odd} for {value}");
            }
        }
    }

    #[test]
    fn the_largest_magnitude_is_found_in_every_place() {
        for count in 1..30 {
            for at in 0..count {
                let mut values = vec![0.25f32; count];
                values[at] = -3.0;
                assert_eq!(largest(&values), 3.0);
            }
        }
        assert_eq!(largest(&[]), 0.0);
    }

    #[test]
    fn sums_take_every_element_once() {
        for count in 0..40 {
            let a: Vec<i8> = (0..count).collect();
            let b: Vec<f32> = a.iter().map(|x| f32::from(*x) + 0.5).collect();
            let want: f64 = a.iter().map(|x| f64::from(*x) * (f64::from(*x) + 0.5)).sum();
            assert_eq!(sum(&a, &b, |x, y| f64::from(x) * f64::from(y)), want);
        }
    }
}
