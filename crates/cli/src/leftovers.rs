//! Files that are not finished yet go when the command is stopped by a signal.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use taskvec::CancelToken;

static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A file that is removed if SIGINT, SIGTERM or SIGHUP ends the process, until this is dropped.
pub(crate) struct Unfinished(PathBuf);

impl Unfinished {
    pub(crate) fn new(path: &Path) -> Unfinished {
        let mut all = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(path.to_owned());
        drop(all);
        #[cfg(unix)]
        signals::watch();
        Unfinished(path.to_owned())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut all = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|path| *path != self.0);
    }
}

/// Work that a first signal asks to stop, and only a second one ends.
static STOPPABLE: Mutex<Option<CancelToken>> = Mutex::new(None);

/// Has the first SIGINT, SIGTERM or SIGHUP cancel this token, and not end the process.
pub(crate) fn stop_by_signal(token: &CancelToken) {
    *STOPPABLE.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
    #[cfg(unix)]
    signals::watch();
}

/// Ends the process as the signal does that stopped its work, so that who waits for it sees that.
pub(crate) fn end_by_signal() -> ExitCode {
    #[cfg(unix)]
    signals::end_as_asked();
    ExitCode::FAILURE
}

#[cfg(unix)]
mod signals {
    use crate::leftovers::{STOPPABLE, UNFINISHED};
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use std::sync::atomic::{AtomicI32, Ordering};
    use std::sync::{Once, PoisonError};

    /// The signal that stopped the work; 0: none.
    static STOPPED_BY: AtomicI32 = AtomicI32::new(0);

    /// Starts a thread that waits for signals, once. Without one the process ends by signals as any other.
    pub(super) fn watch() {
        static STARTED: Once = Once::new();
        STARTED.call_once(|| {
            let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal));
            if let Ok(mut signals) = Signals::new(wanted) {
                std::thread::spawn(move || signals.forever().for_each(received));
            }
        });
    }

    /// Stops the work, if it can be stopped and was not yet; else ends the process.
    fn received(signal: i32) {
        let stoppable = STOPPABLE.lock().unwrap_or_else(PoisonError::into_inner).take();
        match stoppable {
            Some(token) => {
                STOPPED_BY.store(signal, Ordering::Relaxed);
                token.cancel();
            }
            None => end_by(signal),
        }
    }

    /// Ends the process by the signal that stopped its work.
    pub(super) fn end_as_asked() {
        let signal = STOPPED_BY.load(Ordering::Relaxed);
        if signal != 0 {
            end_by(signal);
        }
    }

    /// Removes what is unfinished, and ends the process as the signal does by itself.
    fn end_by(signal: i32) {
        let all = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        for path in all.iter() {
            let _ = std::fs::remove_file(path); // there is nobody left to tell
        }
        // The lock is held, so that nothing is finished or begun meanwhile.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }

    /// Whether the process was started with this signal ignored, as `nohup` does: then it stays ignored.
    fn is_ignored(signal: i32) -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        match ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) {
            Some(mask) => mask >> (signal - 1) & 1 == 1,
            // Elsewhere than on Linux only a terminal tells: `nohup` takes it away.
            None => signal == SIGHUP && !std::io::IsTerminal::is_terminal(&std::io::stderr()),
        }
    }
}
