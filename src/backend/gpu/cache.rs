//! A folder for what is worth remembering about this machine: the user's cache folder, or the one that
//! `TASKVEC_CACHE` names. What is in it can be deleted at any time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(test)]
thread_local! {
    static OF_TEST: std::cell::RefCell<Option<PathBuf>> = const { std::cell::RefCell::new(None) };
}

/// Runs a test that remembers in this folder.
#[cfg(test)]
pub(crate) fn in_folder(folder: &std::path::Path, test: impl FnOnce()) {
    OF_TEST.set(Some(folder.to_owned()));
    test();
    OF_TEST.set(None);
}

/// The folder in which this thread's test remembers, for its other threads.
#[cfg(test)]
pub(crate) fn folder_of_test() -> Option<PathBuf> {
    OF_TEST.with_borrow(Clone::clone)
}

/// Lets this thread remember where the test that started it does.
#[cfg(test)]
pub(crate) fn set_folder_of_test(folder: Option<PathBuf>) {
    OF_TEST.set(folder);
}

/// The folder, which need not exist; `None`: the system names none.
fn folder() -> Option<PathBuf> {
    #[cfg(test)]
    if let Some(folder) = OF_TEST.with_borrow(Clone::clone) {
        return Some(folder);
    }
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = variable("TASKVEC_CACHE") {
        return Some(folder);
    }
    let caches = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Caches"))
    } else {
        variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
    };
    caches.map(|caches| caches.join("taskvec"))
}

/// The bytes remembered under a name.
pub(crate) fn read(name: &str) -> Option<Vec<u8>> {
    std::fs::read(folder()?.join(name)).ok()
}

/// Remembers bytes under a name: wholly or not at all, also when other processes do the same. That it
/// cannot be done is no error: the cache is there to save time.
pub(crate) fn write(name: &str, bytes: &[u8]) {
    let Some(folder) = folder() else { return };
    // Other processes, and other threads of this one, write to files of their own.
    static WRITES: AtomicUsize = AtomicUsize::new(0);
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    let own = folder.join(format!("{name}.{}.{write}", std::process::id()));
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&own, bytes))
        .and_then(|()| std::fs::rename(&own, folder.join(name)));
    if written.is_err() {
        // Whatever stands there half written.
        let _ = std::fs::remove_file(&own);
    }
}
