//! What the tests need beside Rust.

use crate::run::{Outcome, command, is_there, run};
use std::path::Path;

/// The GPU tests run on any Vulkan driver; where Linux has none, Mesa's software one is installed.
pub(crate) fn setup() -> Outcome {
    if cfg!(not(target_os = "linux")) || has_vulkan() {
        return Ok(());
    }
    if !is_there("apt-get --version") {
        return Err("the GPU tests need a Vulkan driver: install Mesa's (lavapipe will do)".to_owned());
    }
    println!("The GPU tests need a Vulkan driver: installing mesa-vulkan-drivers (as root, or with sudo).");
    install("mesa-vulkan-drivers libvulkan1")
}

/// The server's page is tested in Chromium; where there is none, and it can be had, it is installed.
pub(crate) fn browser() -> Outcome {
    let is_known = ["chromium", "chromium-browser", "google-chrome"];
    if is_known.iter().any(|name| is_there(&format!("{name} --version"))) || !is_there("apt-get --version") {
        return Ok(());
    }
    println!("The server's page is tested in a browser: installing chromium (as root, or with sudo).");
    install("chromium")
}

/// Installs packages of Debian's kind.
fn install(packages: &str) -> Outcome {
    let as_root = if crate::run::output(command("id -u"))?.trim() == "0" { "" } else { "sudo " };
    run(command(&format!("{as_root}apt-get update -qq")))?;
    let install = format!(
        "{as_root}env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends {packages}"
    );
    run(command(&install))
}

/// Whether there is a loader, and a driver for it.
fn has_vulkan() -> bool {
    let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    let drivers = folders.iter().filter_map(|folder| Path::new(folder).read_dir().ok()).flatten().count();
    let loader = crate::run::output(command("ldconfig -p")).is_ok_and(|list| list.contains("libvulkan.so.1"));
    drivers > 0 && loader
}
