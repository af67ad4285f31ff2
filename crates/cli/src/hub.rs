//! Models of the Hugging Face Hub, with a progress bar.

use crate::outcome::Outcome;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::PathBuf;
use taskvec::{Download, HubModel};

/// The model's folder in the cache, after a download if need be.
pub(crate) fn fetch(model: &HubModel) -> Outcome<PathBuf> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    let mut report = |download: Download<'_>| {
        bar.set_message(download.file.to_owned());
        bar.set_length(download.total);
        bar.set_position(download.done);
    };
    let folder = model.fetch(&mut report);
    bar.finish_and_clear();
    Ok(folder.map_err(taskvec::Error::from)?)
}
