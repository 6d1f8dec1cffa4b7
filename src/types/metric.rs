//! How distance is measured, and how a vector's elements are stored.

/// How distance is measured. Smaller is closer under every metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Metric {
    /// Squared Euclidean distance.
    L2 = 1,
    /// The negated inner product.
    InnerProduct = 2,
    /// 1 - cosine. Vectors are stored as given, and compared by direction.
    Cosine = 3,
}

impl Metric {
    /// The metric of a stored or given number.
    pub fn from_u32(value: u32) -> Option<Self> {
        [Metric::L2, Metric::InnerProduct, Metric::Cosine].into_iter().find(|m| *m as u32 == value)
    }

    /// "l2", "ip" or "cosine", as the command line has them.
    pub fn name(self) -> &'static str {
        match self {
            Metric::L2 => "l2",
            Metric::InnerProduct => "ip",
            Metric::Cosine => "cosine",
        }
    }

    /// The metric of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Metric::L2, Metric::InnerProduct, Metric::Cosine].into_iter().find(|m| m.name() == name)
    }
}

/// Type of a stored vector's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ElementType {
    /// IEEE 754, 32 bit.
    F32 = 1,
    /// IEEE 754, 16 bit.
    F16 = 2,
    /// Bytes, 0 to 255.
    U8 = 3,
}

impl ElementType {
    /// The type of a stored or given number.
    pub fn from_u32(value: u32) -> Option<Self> {
        [ElementType::F32, ElementType::F16, ElementType::U8].into_iter().find(|t| *t as u32 == value)
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            ElementType::F32 => 4,
            ElementType::F16 => 2,
            ElementType::U8 => 1,
        }
    }

    /// "f32", "f16" or "u8".
    pub fn name(self) -> &'static str {
        match self {
            ElementType::F32 => "f32",
            ElementType::F16 => "f16",
            ElementType::U8 => "u8",
        }
    }
}
