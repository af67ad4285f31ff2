//! What can be wrong with what was asked for.

/// What is wrong with a text, an option or a combination of options.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The model does not give what was asked for.
    #[error("{model} does not give {asked}; it gives {offered}")]
    NoSuchOutput {
        /// The model's name.
        model: String,
        /// What was asked for, and the method for it.
        asked: &'static str,
        /// What it gives, and the methods for it.
        offered: String,
    },
    /// A vector came out NaN or infinite, so it is not returned.
    #[error("the vector is not finite: {cause}")]
    NonFiniteResult {
        /// What is known of the reason.
        cause: String,
    },
    /// A text could not be split into tokens.
    #[error("the text cannot be tokenised: {problem}")]
    Tokenize {
        /// The tokenizer's own words.
        problem: String,
    },
    /// No task has this name.
    #[error("there is no task `{found}`; tasks: {known}")]
    UnknownTask {
        /// The name that was given.
        found: String,
        /// The names that there are.
        known: String,
    },
    /// The model has no prompt of this name.
    #[error("the model has no prompt named `{found}`; {}", listed(known))]
    UnknownPromptName {
        /// The name that was given.
        found: String,
        /// The names that the model has.
        known: Vec<String>,
    },
    /// An instruction was given for a model whose prompts have no place for one.
    #[error(
        "an instruction was given, but the prompts of {model} have no place for one; models such as Qwen3-Embedding do. Use an explicit prompt to put any text in front"
    )]
    InstructionNotSupported {
        /// The model's name.
        model: String,
    },
    /// A title was given for a model or task whose prompt has no place for one.
    #[error(
        "a title was given, but {model}'s prompt for {task} has no place for one; put the title into the text"
    )]
    TitleNotSupported {
        /// The model's name.
        model: String,
        /// The task, or "no task".
        task: String,
    },
    /// Options that exclude each other were given together.
    #[error("{first} and {second} cannot be used together: {because}")]
    Conflict {
        /// One option.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// Why not.
        because: &'static str,
    },
    /// A text has more tokens than the model takes, and truncation was not allowed.
    #[error(
        "the text has {tokens} tokens with its prompt, the limit is {limit}; split it, or allow truncation"
    )]
    TooLong {
        /// Its tokens, special ones included.
        tokens: usize,
        /// The largest number allowed.
        limit: usize,
    },
    /// The prompt alone fills the token limit, so that nothing of the text would be embedded.
    #[error(
        "the prompt takes {prompt_tokens} tokens, which leaves no room for text within the limit of {limit}; raise the limit or shorten the prompt"
    )]
    PromptTooLong {
        /// Tokens of the prompt and the special tokens.
        prompt_tokens: usize,
        /// The token limit.
        limit: usize,
    },
    /// A piece of a text has no token of its own, so there is nothing to pool.
    #[error(
        "piece {piece} of the text has no token of its own; make it longer, or join it with its neighbour"
    )]
    EmptyPiece {
        /// The piece, counted from 0.
        piece: usize,
    },
    /// The caller cancelled the call.
    #[error("the call was cancelled")]
    Cancelled,
    /// An option has a value that it cannot take.
    #[error("{option} is {found}, expected {expected}")]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// What was given.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// Vectors that do not lie in one space were to be compared.
    #[error("vectors of {first} and {second} cannot be compared: {because}")]
    MixedSpaces {
        /// The fingerprint of one.
        first: String,
        /// The fingerprint of the other.
        second: String,
        /// Why not.
        because: &'static str,
    },
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "it has none".to_owned(),
        names => format!("it has: {}", names.join(", ")),
    }
}
