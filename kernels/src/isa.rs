//! Which instruction set the kernels use: found once, at run time.

/// An instruction set that this CPU has.
///
/// Values are made only by detection, so holding one is the proof that its kernels may run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx2Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "aarch64")]
    NeonDotprod,
    #[cfg(target_arch = "aarch64")]
    NeonI8mm,
}

impl Isa {
    /// Plain Rust that the compiler vectorises for the target's baseline; runs everywhere.
    pub const PORTABLE: Isa = Isa(Kind::Portable);

    /// All instruction sets of this CPU that have kernels, slowest first. Never empty.
    pub fn available() -> Vec<Isa> {
        #[allow(unused_mut)]
        let mut found = vec![Isa::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("popcnt")
        {
            found.push(Isa(Kind::Avx2));
            if is_x86_feature_detected!("avxvnni") {
                found.push(Isa(Kind::Avx2Vnni));
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
            {
                found.push(Isa(Kind::Avx512));
                if is_x86_feature_detected!("avx512vnni") {
                    found.push(Isa(Kind::Avx512Vnni));
                    if is_x86_feature_detected!("avx512bf16") {
                        found.push(Isa(Kind::Avx512Bf16));
                    }
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            use std::arch::is_aarch64_feature_detected;
            if is_aarch64_feature_detected!("neon") {
                found.push(Isa(Kind::Neon));
                if is_aarch64_feature_detected!("dotprod") {
                    found.push(Isa(Kind::NeonDotprod));
                    if is_aarch64_feature_detected!("i8mm") && is_aarch64_feature_detected!("bf16") {
                        found.push(Isa(Kind::NeonI8mm));
                    }
                }
            }
        }
        found
    }

    /// The fastest instruction set of this CPU.
    pub fn best() -> Isa {
        *Isa::available().last().unwrap_or(&Isa::PORTABLE)
    }

    /// The available instruction set of this [`name`](Isa::name), or `None`.
    pub fn by_name(name: &str) -> Option<Isa> {
        Isa::available().into_iter().find(|isa| isa.name() == name)
    }

    /// The name in logs, options and benchmarks. Each has all of those before it in its line:
    ///
    /// - `portable`
    /// - `avx2` (with FMA, F16C and POPCNT), `avx2-vnni`
    /// - `avx512` (F, VL, BW and DQ, and AVX2), `avx512-vnni`, `avx512-bf16`
    /// - `neon`, `neon-dotprod`, `neon-i8mm` (with BF16)
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2Vnni => "avx2-vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16 => "avx512-bf16",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDotprod => "neon-dotprod",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonI8mm => "neon-i8mm",
        }
    }

    pub(crate) fn kind(self) -> Kind {
        self.0
    }
}

/// Whether this CPU is none of Intel's: of those the multipliers also do what others have units of their own for.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) fn is_amd_or_arm() -> bool {
    // Asking may cost a virtual machine's CPU tens of microseconds.
    static IS_AMD: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *IS_AMD.get_or_init(|| {
        // SAFETY: all of x86-64 has the instruction. (From Rust 1.94 on, nothing that needs saying.)
        #[allow(unused_unsafe)]
        let maker = unsafe { std::arch::x86_64::__cpuid(0) };
        [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
    })
}

/// Whether this CPU is none of Intel's. (Miri asks none.)
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) fn is_amd_or_arm() -> bool {
    true
}

impl std::fmt::Debug for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
