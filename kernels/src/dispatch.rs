//! One body, compiled for each instruction set.

/// Defines a public function that runs `$body::<K>` compiled for the instruction set it is given.
///
/// The body is generic over [`Kernel`](crate::kernel::Kernel) and `#[inline(always)]`: inlined into
/// a function with the target features enabled, its plain loops become the vector code of that
/// instruction set.
macro_rules! dispatch {
    ($(#[$meta:meta])* pub fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        pub fn $name(isa: $crate::Isa, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,popcnt")]
            #[allow(clippy::too_many_arguments)]
            fn avx2($($arg: $ty),*) {
                $body::<$crate::kernel::x86::Avx2>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,popcnt")]
            #[allow(clippy::too_many_arguments)]
            fn avx512($($arg: $ty),*) {
                $body::<$crate::kernel::x86::Avx512>($($arg),*)
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            #[allow(clippy::too_many_arguments)]
            fn neon($($arg: $ty),*) {
                $body::<$crate::kernel::neon::Neon>($($arg),*)
            }
            match isa.kind() {
                $crate::isa::Kind::Portable => {
                    $body::<$crate::kernel::portable::Portable>($($arg),*)
                }
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Kind::Avx2 | $crate::isa::Kind::Avx2Vnni => {
                    // SAFETY: an `Isa` of these kinds exists only on a CPU that has these features.
                    unsafe { avx2($($arg),*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Kind::Avx512
                | $crate::isa::Kind::Avx512Vnni
                | $crate::isa::Kind::Avx512Bf16 => {
                    // SAFETY: an `Isa` of these kinds exists only on a CPU that has these features.
                    unsafe { avx512($($arg),*) }
                }
                #[cfg(target_arch = "aarch64")]
                $crate::isa::Kind::Neon
                | $crate::isa::Kind::NeonDotprod
                | $crate::isa::Kind::NeonI8mm => {
                    // SAFETY: an `Isa` of these kinds exists only on a CPU that has NEON.
                    unsafe { neon($($arg),*) }
                }
            }
        }
    };
}
pub(crate) use dispatch;
