use super::*;
use crate::error::RequestError;
use crate::task::Task;

/// Prompt names and texts.
type Own = [(&'static str, &'static str)];

fn model(own: &Own, default: Option<&str>, name: &str) -> ModelPrompts {
    let names = [name.to_owned()];
    ModelPrompts {
        model: name.to_owned(),
        names: names.to_vec(),
        own: own.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        default: default.map(str::to_owned),
        user: None,
        registry: registry::find(&names),
        adapters: Vec::new(),
        default_adapter: None,
        pooled: true,
    }
}

fn by_task(model: &ModelPrompts, task: Task) -> Prompt {
    model.resolve(&PromptRequest { task: Some(task), ..PromptRequest::default() }).unwrap()
}

const GEMMA: [(&str, &str); 4] = [
    ("query", "task: search result | query: "),
    ("document", "title: none | text: "),
    ("STS", "task: sentence similarity | query: "),
    ("InstructionRetrieval", "task: code retrieval | query: "),
];

#[test]
fn a_task_is_found_under_the_names_that_models_use() {
    let nomic = [
        ("search_query", "search_query: "),
        ("search_document", "search_document: "),
        ("clustering", "clustering: "),
    ];
    let cases: [(&Own, Task, &str); 7] = [
        (&nomic, Task::RetrievalQuery, "search_query: "),
        (&nomic, Task::RetrievalDocument, "search_document: "),
        (&nomic, Task::Clustering, "clustering: "),
        (&GEMMA, Task::SemanticSimilarity, "task: sentence similarity | query: "),
        (&GEMMA, Task::CodeRetrievalQuery, "task: code retrieval | query: "),
        (&[("Retrieval-query", "a: ")], Task::RetrievalQuery, "a: "),
        (&[("retrieval.passage", "b: ")], Task::RetrievalDocument, "b: "),
    ];
    for (own, task, expected) in cases {
        let prompt = by_task(&model(own, None, "unknown"), task);
        assert_eq!(prompt.text, expected, "{task}");
        assert!(
            matches!(prompt.source, PromptSource::Model { .. }) && prompt.note.is_none(),
            "{task}: {prompt:?}"
        );
    }
}

#[test]
fn an_empty_document_prompt_gives_way_to_passage() {
    let own = [("document", ""), ("passage", "passage: "), ("query", "query: ")];
    let prompt = by_task(&model(&own, None, "unknown"), Task::RetrievalDocument);
    assert_eq!(prompt.text, "passage: ");
    assert_eq!(prompt.source, PromptSource::Model { name: "passage".into() });
}

#[test]
fn an_empty_document_prompt_beside_a_query_prompt_is_meant() {
    let own = [("document", ""), ("query", "q: ")];
    let prompt = by_task(&model(&own, None, "unknown"), Task::RetrievalDocument);
    assert_eq!((prompt.text.as_str(), prompt.note), ("", None));
}

#[test]
fn the_registry_fills_in_what_the_files_leave_out() {
    let bare = model(&[("document", ""), ("query", "")], None, "e5-small-v2");
    assert_eq!(by_task(&bare, Task::RetrievalDocument).text, "passage: ");
    let prompt = by_task(&bare, Task::Clustering);
    assert_eq!(prompt.text, "query: ");
    assert_eq!(prompt.source, PromptSource::Registry { family: "E5".into() });
    assert_eq!(by_task(&model(&[], None, "bge-base-en-v1.5"), Task::Classification).note, None);
}

#[test]
fn a_task_without_effect_is_said() {
    // A kind of query has the prompt for queries to fall back to; another task has not.
    let task = Task::FactVerification;
    let gemma = by_task(&model(&GEMMA, None, "unknown"), task);
    assert_eq!(gemma.text, "task: search result | query: ");
    assert_eq!(gemma.note, Some(Note::QueryPromptUsed { task }));
    let gemma = by_task(&model(&GEMMA, None, "unknown"), Task::Clustering);
    assert_eq!(gemma.text, "");
    assert!(matches!(gemma.note, Some(Note::NoPromptForTask { offered, .. }) if offered.len() == 4));
    let minilm = by_task(&model(&[], None, "all-MiniLM-L6-v2"), task);
    assert_eq!(minilm.note, Some(Note::TrainedWithoutPrompts { task }));
    let unknown = by_task(&model(&[("query", ""), ("document", "")], None, "my-model"), task);
    assert_eq!(unknown.note, Some(Note::NoPromptsKnown { task }));
}

#[test]
fn an_explicit_prompt_comes_before_a_task() {
    let request =
        PromptRequest { explicit: Some(""), task: Some(Task::RetrievalQuery), ..PromptRequest::default() };
    let prompt = model(&GEMMA, None, "unknown").resolve(&request).unwrap();
    assert_eq!((prompt.text.as_str(), prompt.source), ("", PromptSource::Explicit));
}

#[test]
fn an_unknown_prompt_name_lists_the_known_ones() {
    let request = PromptRequest { name: Some("Query"), ..PromptRequest::default() };
    let message = model(&GEMMA, None, "unknown").resolve(&request).unwrap_err().to_string();
    assert!(message.contains("`Query`") && message.contains("query, document, STS"), "{message}");
}

#[test]
fn the_default_prompt_is_used_only_when_nothing_is_asked_for() {
    let model = model(&GEMMA, Some("STS"), "unknown");
    let prompt = model.resolve(&PromptRequest::default()).unwrap();
    assert_eq!(prompt.source, PromptSource::ModelDefault { name: "STS".into() });
    assert_eq!(by_task(&model, Task::RetrievalQuery).text, "task: search result | query: ");
}

#[test]
fn instructions_take_the_familys_form() {
    let request = PromptRequest { instruction: Some("Find recipes"), ..PromptRequest::default() };
    let qwen = model(&[], None, "Qwen3-Embedding-0.6B").resolve(&request).unwrap();
    assert_eq!(qwen.text, "Instruct: Find recipes\nQuery:");
    let tuned = model(&[("query", "Instruct: Search\nQuery: ")], None, "my-tuned-model");
    assert_eq!(tuned.resolve(&request).unwrap().text, "Instruct: Find recipes\nQuery: ");
    let error = model(&GEMMA, None, "unknown").resolve(&request).unwrap_err();
    assert!(matches!(error, RequestError::InstructionNotSupported { .. }));
    let document = PromptRequest { task: Some(Task::RetrievalDocument), ..request };
    assert!(matches!(tuned.resolve(&document), Err(RequestError::Conflict { .. })));
}

#[test]
fn a_title_takes_its_place_or_is_refused() {
    let gemma = model(&GEMMA, None, "unknown");
    let request =
        PromptRequest { task: Some(Task::RetrievalDocument), title: Some("Tea"), ..PromptRequest::default() };
    assert_eq!(gemma.resolve(&request).unwrap().text, "title: Tea | text: ");
    let query = PromptRequest { task: Some(Task::RetrievalQuery), ..request };
    assert!(matches!(gemma.resolve(&query), Err(RequestError::TitleNotSupported { .. })));
}

#[test]
fn two_ways_to_say_the_prompt_are_a_conflict() {
    let gemma = model(&GEMMA, None, "unknown");
    for request in [
        PromptRequest { explicit: Some("a"), name: Some("query"), ..PromptRequest::default() },
        PromptRequest { explicit: Some("a"), instruction: Some("b"), ..PromptRequest::default() },
        PromptRequest { name: Some("query"), instruction: Some("b"), ..PromptRequest::default() },
    ] {
        assert!(matches!(gemma.resolve(&request), Err(RequestError::Conflict { .. })), "{request:?}");
    }
}
