//! Types of the components of stored vectors.

use std::borrow::Cow;

use bytemuck::Pod;
use half::bf16;

/// Type of the components of stored vectors. Vectors and queries are passed and returned as `f32` in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Datatype {
    /// 32-bit floats, as passed.
    #[default]
    Float32,
    /// The upper half of an `f32`, rounded to nearest even: 8 bits of precision and the full exponent range; values
    /// that would become infinite become the largest. Half of the memory, and of the bytes read for reranking. All
    /// results are about the rounded vectors: a component differs by at most 1/256 of itself, or by less than 2^-133.
    Bfloat16,
}

impl Datatype {
    /// A vector rounded to this type.
    pub(crate) fn kept(self, vector: &[f32]) -> Cow<'_, [f32]> {
        match self {
            Self::Float32 => Cow::Borrowed(vector),
            Self::Bfloat16 => vector.iter().map(|x| bf16::of(*x).wide()).collect(),
        }
    }
}

/// A component type.
pub(crate) trait Number: Pod {
    /// The nearest finite value of a finite number.
    fn of(x: f32) -> Self;

    fn wide(self) -> f32;

    /// Converts between the byte order of this machine and that of files.
    fn little_endian(self) -> Self;
}

impl Number for f32 {
    fn of(x: f32) -> Self {
        x
    }

    fn wide(self) -> f32 {
        self
    }

    fn little_endian(self) -> Self {
        Self::from_bits(self.to_bits().to_le())
    }
}

impl Number for bf16 {
    fn of(x: f32) -> Self {
        Self::from_f32(x).clamp(Self::MIN, Self::MAX)
    }

    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    fn little_endian(self) -> Self {
        Self::from_bits(self.to_bits().to_le())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_rounded_to_the_nearest() {
        for (x, expected) in [
            (1.0, 1.0),
            (-0.0, -0.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
            (f32::MAX, bf16::MAX.wide()),
            (f32::MIN, bf16::MIN.wide()),
            (1e-45, 0.0),
        ] {
            assert_eq!(bf16::of(x).wide().to_bits(), f32::to_bits(expected), "{x:e}");
            assert_eq!(Datatype::Bfloat16.kept(&[x])[0].to_bits(), f32::to_bits(expected), "{x:e}");
            assert_eq!(Datatype::Float32.kept(&[x])[0].to_bits(), x.to_bits());
        }
    }
}
