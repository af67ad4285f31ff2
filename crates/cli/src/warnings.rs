//! What the user should know about results, said on stderr at the end.

use taskvec::{Embedder, Note, Output, Prompt, Truncation};

/// What the user should know about results, said on stderr at the end.
#[derive(Default)]
pub(crate) struct Warnings {
    note: Option<Note>,
    cut: usize,
    /// Tokens that the shortest of the cut texts was cut to: the limit.
    cut_to: usize,
    /// Texts without tokens of their own, where pieces were wanted, and the first of them.
    without_pieces: Option<(usize, usize)>,
    dimensions: Option<String>,
}

impl Warnings {
    /// Takes note of a text's prompt and of whether it was cut.
    pub(crate) fn note<T>(&mut self, output: &Output<T>) {
        if self.note.is_none() {
            self.note.clone_from(&output.prompt.note);
        }
        if output.truncated() {
            self.cut += 1;
            self.cut_to = self.cut_to.max(output.tokens);
        }
    }

    /// Takes note of the prompt of all texts.
    pub(crate) fn about_prompt(&mut self, prompt: &Prompt) {
        self.note.clone_from(&prompt.note);
    }

    /// Takes note of so many texts that were cut to the limit.
    pub(crate) fn about_cut(&mut self, texts: usize, limit: usize) {
        (self.cut, self.cut_to) = (texts, limit);
    }

    /// Takes note of a text that has no pieces.
    pub(crate) fn note_without_pieces(&mut self, text: usize) {
        let (count, first) = self.without_pieces.unwrap_or((0, text));
        self.without_pieces = Some((count + 1, first));
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

    /// `too_long`: what was asked for with texts that have too many tokens.
    pub(crate) fn print(&self, embedder: &Embedder, too_long: Truncation) {
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
            let end = match too_long {
                Truncation::Model => embedder.truncation(),
                asked => asked,
            };
            let end = if end == Truncation::Start { "start" } else { "end" };
            eprintln!(
                "taskvec: warning: {} {texts} cut at the {end}, to the limit of {} tokens",
                self.cut, self.cut_to
            );
        }
        if let Some((count, first)) = self.without_pieces {
            let texts = if count == 1 { "text has" } else { "texts have" };
            eprintln!(
                "taskvec: warning: {count} {texts} no tokens of their own, so no pieces; the first is text {first}"
            );
        }
    }
}
