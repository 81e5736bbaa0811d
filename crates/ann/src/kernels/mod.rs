//! Kernels: distances and related loops, with an implementation per instruction set.
//!
//! [`scalar`] is the reference: 64 lanes (component `i` belongs to lane `i % 64`), fused multiply-add, one fixed tree
//! that sums the lanes. Its twins return the same bits, so a graph does not depend on the instruction set. The set is
//! selected once per index ([`InstructionSet::best`]); an index keeps plain function pointers.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod binary;
pub(crate) mod binary_columns;
pub(crate) mod columns;
pub(crate) mod estimates;
pub(crate) mod fast_scan;
pub(crate) mod insert;
pub(crate) mod int4;
pub(crate) mod int8;
pub(crate) mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use half::bf16;

/// Compares two vectors of equal length. Components of the second are converted to `f32` first, without loss.
pub(crate) type Kernel<T> = fn(&[f32], &[T]) -> f32;

/// The kernels of one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    pub dot: Kernel<f32>,
    pub squared_euclid: Kernel<f32>,
    pub manhattan: Kernel<f32>,
    pub dot_bf16: Kernel<bf16>,
    pub squared_euclid_bf16: Kernel<bf16>,
    pub manhattan_bf16: Kernel<bf16>,
    pub columns: columns::Columns,
    pub fast_scan: fast_scan::FastScan,
    pub binary_differences: binary::BinaryDifferences,
    pub binary_columns: binary_columns::BinaryColumns,
    pub int8_dot: int8::Int8Dot,
    pub int8_dots: int8::Int8Dots,
    pub int4_dot: int4::Int4Dot,
    pub hadamard: lanes::Hadamard,
    pub largest: lanes::Largest,
    pub to_bytes: lanes::ToBytes,
    pub sign_sums: lanes::SignSums,
    pub code_difference: lanes::CodeDifference,
    pub estimates: estimates::Estimates,
    pub insert: insert::Insert,
}

/// Instruction set of the kernels. Results are the same bits; only the speed differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstructionSet {
    /// Runs everywhere; defines the result.
    Scalar,
    /// AArch64 with NEON, which all its processors have that run an operating system.
    Neon,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ, VL, VNNI and VPOPCNTDQ: Ice Lake, Zen 4 and later.
    Avx512,
}

/// The processor lacks the requested instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this processor does not support {0:?}")]
pub struct Unsupported(pub InstructionSet);

/// Most capable set that may be used (`scalar`, `neon`, `avx2`, `avx512`), for tests and to isolate faults.
const OVERRIDE: &str = "MERIDIAN_ANN_KERNELS";

/// The kernels of a set, by the name of its twins in every module.
#[cfg(target_arch = "x86_64")]
macro_rules! twins {
    ($set:ident) => {
        Kernels {
            // SAFETY: `kernels` hands these out only after all that the set names was detected; so for all.
            dot: |a, b| unsafe { $set::dot(a, b) },
            // SAFETY: as above.
            squared_euclid: |a, b| unsafe { $set::squared_euclid(a, b) },
            // SAFETY: as above.
            manhattan: |a, b| unsafe { $set::manhattan(a, b) },
            // SAFETY: as above.
            dot_bf16: |a, b| unsafe { $set::dot_bf16(a, b) },
            // SAFETY: as above.
            squared_euclid_bf16: |a, b| unsafe { $set::squared_euclid_bf16(a, b) },
            // SAFETY: as above.
            manhattan_bf16: |a, b| unsafe { $set::manhattan_bf16(a, b) },
            // SAFETY: as above.
            columns: |vector, columns, out| unsafe { columns::x86::$set(vector, columns, out) },
            // SAFETY: as above.
            fast_scan: |block, table, limit, sums| unsafe { fast_scan::x86::$set(block, table, limit, sums) },
            // SAFETY: as above.
            binary_differences: |rows, words, planes| unsafe { binary::x86::$set(rows, words, planes) },
            // SAFETY: as above.
            binary_columns: |columns, words, planes, sums| unsafe {
                binary_columns::x86::$set(columns, words, planes, sums)
            },
            // SAFETY: as above.
            int8_dot: |code, query| unsafe { int8::x86::$set(code, query) },
            // SAFETY: as above.
            int8_dots: |codes, query| unsafe { int8::x86::rows::$set(codes, query) },
            // SAFETY: as above.
            int4_dot: |code, query| unsafe { int4::x86::$set(code, query) },
            // SAFETY: as above.
            hadamard: |window, signs| unsafe { lanes::x86::$set::hadamard(window, signs) },
            // SAFETY: as above.
            largest: |numbers| unsafe { lanes::x86::$set::largest(numbers) },
            // SAFETY: as above.
            to_bytes: |numbers, inverse, bytes| unsafe { lanes::x86::$set::to_bytes(numbers, inverse, bytes) },
            // SAFETY: as above.
            sign_sums: |numbers, inverse, largest, table| unsafe {
                lanes::x86::$set::sign_sums(numbers, inverse, largest, table)
            },
            // SAFETY: as above.
            code_difference: |from, to, positive| unsafe { lanes::x86::$set::code_difference(from, to, positive) },
            // SAFETY: as above.
            estimates: |input, out| unsafe { estimates::x86::$set(input, out) },
            // SAFETY: as above.
            insert: |sorted, entry| unsafe { insert::x86::$set(sorted, entry) },
        }
    };
}

impl InstructionSet {
    /// Ascending by register width; the sets of one machine, ascending by speed.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Neon, Self::Avx2, Self::Avx512];

    /// Whether this machine supports it.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(not(target_arch = "aarch64"))]
            Self::Neon => false,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("popcnt")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_supported()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("avx512vpopcntdq")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// The fastest set that this machine supports and that the environment variable `MERIDIAN_ANN_KERNELS` permits
    /// (`scalar`, `neon`, `avx2`, `avx512`; read once, other values are ignored). It permits the set that it names, and
    /// all before it in [`Self::ALL`].
    pub fn best() -> Self {
        static BEST: OnceLock<InstructionSet> = OnceLock::new();
        *BEST.get_or_init(|| Self::best_up_to(std::env::var(OVERRIDE).ok().as_deref()))
    }

    fn best_up_to(limit: Option<&str>) -> Self {
        let limit = match limit {
            Some("scalar") => Self::Scalar,
            Some("neon") => Self::Neon,
            Some("avx2") => Self::Avx2,
            _ => Self::Avx512,
        };
        let usable = Self::ALL.into_iter().filter(|set| *set <= limit && set.is_supported());
        usable.max().unwrap_or(Self::Scalar)
    }

    /// Its kernels, if this machine supports it.
    pub(crate) fn kernels(self) -> Result<Kernels, Unsupported> {
        if !self.is_supported() {
            return Err(Unsupported(self));
        }
        Ok(self.kernels_if_supported())
    }

    /// Only to be called through [`Self::kernels`]: the pointers are sound where the instructions exist.
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "calls functions compiled for instructions that `kernels` has just detected")]
    fn kernels_if_supported(self) -> Kernels {
        match self {
            Self::Scalar | Self::Neon => scalar::KERNELS,
            Self::Avx2 => twins!(avx2),
            Self::Avx512 => twins!(avx512),
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[expect(unsafe_code, reason = "calls functions compiled for instructions that `kernels` has just detected")]
    fn kernels_if_supported(self) -> Kernels {
        match self {
            Self::Scalar | Self::Avx2 | Self::Avx512 => scalar::KERNELS,
            Self::Neon => Kernels {
                // SAFETY: `kernels` hands these out only after NEON was detected; so for all.
                dot: |a, b| unsafe { neon::dot(a, b) },
                // SAFETY: as above.
                squared_euclid: |a, b| unsafe { neon::squared_euclid(a, b) },
                // SAFETY: as above.
                manhattan: |a, b| unsafe { neon::manhattan(a, b) },
                // SAFETY: as above.
                dot_bf16: |a, b| unsafe { neon::dot_bf16(a, b) },
                // SAFETY: as above.
                squared_euclid_bf16: |a, b| unsafe { neon::squared_euclid_bf16(a, b) },
                // SAFETY: as above.
                manhattan_bf16: |a, b| unsafe { neon::manhattan_bf16(a, b) },
                // SAFETY: as above.
                columns: |vector, columns, out| unsafe { columns::aarch64::neon(vector, columns, out) },
                // SAFETY: as above.
                fast_scan: |block, table, limit, sums| unsafe { fast_scan::aarch64::neon(block, table, limit, sums) },
                // SAFETY: as above.
                int8_dot: |code, query| unsafe { int8::aarch64::neon(code, query) },
                // SAFETY: as above.
                int8_dots: |codes, query| codes.map(|code| unsafe { int8::aarch64::neon(code, query) }),
                // SAFETY: as above.
                int4_dot: |code, query| unsafe { int4::aarch64::neon(code, query) },
                // NEON is enabled for all code of this architecture: twins would compile to the same code.
                ..scalar::KERNELS
            },
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn kernels_if_supported(self) -> Kernels {
        scalar::KERNELS
    }
}

/// Prefetches the first bytes of a row; the processor fetches the rest by itself.
#[inline]
pub(crate) fn prefetch<T>(row: &[T]) {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        /// Bytes of a cache line.
        const LINE: usize = 64;
        /// Lines per row, at most.
        const LINES: usize = 32;
        for start in (0..size_of_val(row)).step_by(LINE).take(LINES) {
            let at = row.as_ptr().cast::<u8>().wrapping_add(start);
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the intrinsic takes a raw pointer")]
            // SAFETY: a prefetch is a hint that cannot fault, and the address lies inside `row` anyway.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(at.cast());
            }
            #[cfg(target_arch = "aarch64")]
            #[expect(unsafe_code, reason = "the intrinsic is not stable")]
            // SAFETY: as above, and it changes neither registers nor flags nor memory.
            unsafe {
                std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(readonly, nostack, preserves_flags));
            }
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = row;
}
