//! Hides instructions of the CPU from the program that this is loaded into: `LD_PRELOAD=libtaskvec_hold.so
//! HOLD_TO=avx2 program`.
//!
//! Programs choose their kernels by what the instruction CPUID says, each in its own way; settings such as
//! ONEDNN_MAX_CPU_ISA reach some of a program's libraries and not others (OpenVINO's products of f32 are MLAS', which
//! goes on with AVX-512). Linux can have CPUID fault (`arch_prctl(ARCH_SET_CPUID)`, on CPUs with the flag
//! `cpuid_fault`). The handler of that fault asks the CPU itself, and gives the answer without the bits to hide. What
//! a process found out before, as the C library did for its copies, it keeps.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::arch::x86_64::{CpuidResult, __cpuid_count};
use std::sync::atomic::{AtomicBool, Ordering};

const ARCH_SET_CPUID: libc::c_int = 0x1012;

/// Whether AVX-512's own VNNI and the like stay: held to AVX-512 without matrix units.
static KEEP_AVX512: AtomicBool = AtomicBool::new(false);

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

/// Runs when the library is loaded, before the program does.
extern "C" fn start() {
    match std::env::var("HOLD_TO").as_deref() {
        Ok("avx2") => {}
        Ok("avx512") => KEEP_AVX512.store(true, Ordering::Relaxed),
        _ => return,
    }
    // SAFETY: the action is filled before it is set, and its handler is of the kind that SA_SIGINFO says.
    let set = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_fault as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()) == 0
    };
    if !set || !fault(true) {
        eprintln!("CPUID cannot be made to fault here: nothing can be hidden");
        std::process::exit(1);
    }
}

/// Whether CPUID faults, for this thread and those that it starts.
fn fault(on: bool) -> bool {
    // SAFETY: the call takes a number, and changes nothing in memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_CPUID, libc::c_ulong::from(!on)) == 0 }
}

extern "C" fn on_fault(signal: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: a handler set with SA_SIGINFO gets a context, which is its own until it returns.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let register = |name: libc::c_int| name as usize;
    let instruction = registers[register(libc::REG_RIP)] as *const [u8; 2];
    // SAFETY: it was just run. (A jump to where nothing is faults again here, without the handler: the program ends.)
    if unsafe { instruction.read_unaligned() } != [0x0f, 0xa2] {
        // Not CPUID: the program's own fault, which comes again as soon as this returns.
        // SAFETY: the default action takes no handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    let leaf = registers[register(libc::REG_RAX)] as u32;
    let part = registers[register(libc::REG_RCX)] as u32;
    fault(false);
    let found = hide(leaf, part, __cpuid_count(leaf, part));
    fault(true);
    for (name, value) in [
        (libc::REG_RAX, found.eax),
        (libc::REG_RBX, found.ebx),
        (libc::REG_RCX, found.ecx),
        (libc::REG_RDX, found.edx),
    ] {
        registers[register(name)] = value.into();
    }
    registers[register(libc::REG_RIP)] += 2;
}

/// Without matrix units; and without AVX-512 and AVX-VNNI, where that was asked for. The bits are those of Intel's
/// manual, volume 2, CPUID, leaf 7.
fn hide(leaf: u32, part: u32, found: CpuidResult) -> CpuidResult {
    let without = |value: u32, bits: &[u32]| bits.iter().fold(value, |value, bit| value & !(1 << bit));
    let CpuidResult { mut eax, mut ebx, mut ecx, mut edx } = found;
    let keep_avx512 = KEEP_AVX512.load(Ordering::Relaxed);
    match (leaf, part) {
        (7, 0) => {
            edx = without(edx, &[22, 24, 25]); // AMX
            if !keep_avx512 {
                ebx = without(ebx, &[16, 17, 21, 26, 27, 28, 30, 31]);
                ecx = without(ecx, &[1, 6, 11, 12, 14]);
                edx = without(edx, &[2, 3, 8, 23]);
            }
        }
        (7, 1) => {
            eax = without(eax, &[21]); // AMX in f16
            if !keep_avx512 {
                eax = without(eax, &[4, 5, 23]); // AVX-VNNI, AVX-512 in bf16, AVX-IFMA
                edx = without(edx, &[4, 5, 8, 10, 19]); // AVX-VNNI-INT8, AVX-NE-CONVERT, AMX, AVX-VNNI-INT16, AVX10
            }
        }
        (0x1e, _) => (eax, ebx, ecx, edx) = (0, 0, 0, 0), // of matrix units
        _ => {}
    }
    CpuidResult { eax, ebx, ecx, edx }
}
