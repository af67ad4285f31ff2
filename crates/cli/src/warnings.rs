//! What the user should know about results, said on stderr at the end.

use taskvec::{Embedder, Note, Output};

/// What the user should know about results, said on stderr at the end.
#[derive(Default)]
pub(crate) struct Warnings {
    note: Option<Note>,
    cut: usize,
    dimensions: Option<String>,
}

impl Warnings {
    /// Takes note of a text's prompt and of whether it was cut.
    pub(crate) fn note<T>(&mut self, output: &Output<T>) {
        if self.note.is_none() {
            self.note.clone_from(&output.prompt.note);
        }
        self.cut += usize::from(output.truncated());
    }

    /// Takes note of a size that the model was not trained to be cut to.
    pub(crate) fn about_dimensions(&mut self, embedder: &Embedder, dimensions: Option<usize>) {
        let trained = embedder.trained_dimensions();
        if let Some(wanted) =
            dimensions.filter(|&wanted| wanted < embedder.dimensions() && !trained.contains(&wanted))
        {
            let known = match trained {
                [] => "its files do not say that it was trained to be cut at all".to_owned(),
                sizes => format!(
                    "it was trained for {}",
                    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
                ),
            };
            self.dimensions =
                Some(format!("the model was not trained to be cut to {wanted} values: {known}"));
        }
    }

    pub(crate) fn print(&self, embedder: &Embedder) {
        let device = embedder.device();
        if let Some(fault) = device.fault {
            eprintln!("taskvec: warning: a GPU failed, and {} did its work: {fault}", device.name);
        }
        if let Some(note) = &self.note {
            eprintln!("taskvec: warning: {note}");
        }
        if let Some(about) = &self.dimensions {
            eprintln!("taskvec: warning: {about}");
        }
        if self.cut > 0 {
            let texts = if self.cut == 1 { "text was" } else { "texts were" };
            let limit = embedder.max_tokens();
            eprintln!("taskvec: warning: {} {texts} cut to the limit of {limit} tokens", self.cut);
        }
    }
}
