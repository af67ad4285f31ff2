//! What a vector is for.

use crate::error::{Error, RequestError};
use crate::names::serialized_as_name;
use std::fmt;
use std::str::FromStr;

/// What a vector is for: the eight task types of Google's embedding API
/// (<https://ai.google.dev/gemini-api/docs/embeddings#supported-task-types>), which other
/// vendors' prompts map onto.
///
/// Retrieval is asymmetric: a question is embedded as [`Task::RetrievalQuery`],
/// [`Task::QuestionAnswering`], [`Task::FactVerification`] or [`Task::CodeRetrievalQuery`], and
/// what it is to find as [`Task::RetrievalDocument`]. The other tasks are symmetric: both sides
/// are embedded alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Task {
    /// A search query, to be compared with documents.
    RetrievalQuery,
    /// A document to be found.
    RetrievalDocument,
    /// Texts to be compared for how alike they are in meaning.
    SemanticSimilarity,
    /// A text to be sorted into known classes.
    Classification,
    /// A text to be grouped with others like it.
    Clustering,
    /// A question, to be compared with documents that answer it.
    QuestionAnswering,
    /// A claim, to be compared with documents that support or refute it.
    FactVerification,
    /// A description in words, to be compared with code.
    CodeRetrievalQuery,
}

impl Task {
    /// All tasks.
    pub const ALL: [Task; 8] = [
        Task::RetrievalQuery,
        Task::RetrievalDocument,
        Task::SemanticSimilarity,
        Task::Classification,
        Task::Clustering,
        Task::QuestionAnswering,
        Task::FactVerification,
        Task::CodeRetrievalQuery,
    ];

    /// The name on the command line and in the prompt registry, such as `retrieval-query`.
    pub fn name(self) -> &'static str {
        match self {
            Task::RetrievalQuery => "retrieval-query",
            Task::RetrievalDocument => "retrieval-document",
            Task::SemanticSimilarity => "semantic-similarity",
            Task::Classification => "classification",
            Task::Clustering => "clustering",
            Task::QuestionAnswering => "question-answering",
            Task::FactVerification => "fact-verification",
            Task::CodeRetrievalQuery => "code-retrieval-query",
        }
    }

    /// Whether it is a query for a purpose of its own: embedded to be compared with documents, like
    /// [`Task::RetrievalQuery`].
    pub(crate) fn is_kind_of_query(self) -> bool {
        matches!(self, Task::QuestionAnswering | Task::FactVerification | Task::CodeRetrievalQuery)
    }

    /// Whether it is embedded as a query, to be compared with documents.
    pub fn is_query(self) -> bool {
        self == Task::RetrievalQuery || self.is_kind_of_query()
    }

    /// The task of a vendor's name, in lower case with dashes.
    fn by_vendors_name(name: &str) -> Option<Task> {
        Some(match name {
            // E5, Voyage, sentence-transformers; Nomic and Cohere; jina-embeddings-v3.
            "query" | "search-query" | "retrieval.query" => Task::RetrievalQuery,
            "document" | "passage" | "corpus" | "search-document" | "retrieval.passage" => {
                Task::RetrievalDocument
            }
            "text-matching" | "sts" | "similarity" | "sentence-similarity" => Task::SemanticSimilarity,
            "separation" => Task::Clustering,
            "fact-checking" => Task::FactVerification,
            "code-retrieval" => Task::CodeRetrievalQuery,
            _ => return None,
        })
    }

    /// All names, for messages.
    fn names() -> String {
        Task::ALL.map(Task::name).join(", ")
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Task {
    type Err = Error;

    /// Reads a [`Task::name`], in any case and with `_` or `-` (`RETRIEVAL_QUERY` is Google's own
    /// spelling), or a vendor's name for one: E5's and Voyage's `query`, `passage` and `document`,
    /// Nomic's and Cohere's `search_query` and `search_document`, Jina's `retrieval.query`,
    /// `retrieval.passage`, `separation` and `text-matching`.
    fn from_str(text: &str) -> Result<Task, Error> {
        let name = text.to_ascii_lowercase().replace('_', "-");
        let found = Task::ALL.into_iter().find(|task| task.name() == name);
        found
            .or_else(|| Task::by_vendors_name(&name))
            .ok_or_else(|| RequestError::UnknownTask { found: text.to_owned(), known: Task::names() }.into())
    }
}

serialized_as_name!(Task);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_every_spelling() {
        for task in Task::ALL {
            assert_eq!(task.name().parse::<Task>().unwrap(), task);
            let google = task.name().to_uppercase().replace('-', "_");
            assert_eq!(google.parse::<Task>().unwrap(), task);
        }
        let vendors = [
            ("query", Task::RetrievalQuery),
            ("passage", Task::RetrievalDocument),
            ("search_query", Task::RetrievalQuery),
            ("search_document", Task::RetrievalDocument),
            ("retrieval.query", Task::RetrievalQuery),
            ("retrieval.passage", Task::RetrievalDocument),
            ("separation", Task::Clustering),
            ("text-matching", Task::SemanticSimilarity),
        ];
        for (name, task) in vendors {
            assert_eq!(name.parse::<Task>().unwrap(), task, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = "searching".parse::<Task>().unwrap_err().to_string();
        assert!(message.contains("`searching`") && message.contains("retrieval-query"), "{message}");
    }
}
