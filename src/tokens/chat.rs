//! Chat templates: a text becomes a message of a conversation, written out as the model was trained with it.
//!
//! Sources: transformers 5.24, `chat_template_utils.py` (what a template sees); sentence-transformers 6.2,
//! `base/modality.py` (texts as messages) and `base/modules/transformer.py` (what is cut, and put back).

use crate::error::{ModelError, ModelResult, RequestError, RequestResult};
use crate::source::Json;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value as Jinja};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// How a message holds its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MessageFormat {
    /// `"content": text`
    Flat,
    /// `"content": [{"type": "text", "text": text}]`
    Structured,
}

impl MessageFormat {
    /// What a template expects, by what stands in it.
    fn of(template: &str) -> MessageFormat {
        let patterns = ["content[0]", ".type", "'type'", "\"type\"", "message.content["];
        match patterns.iter().any(|pattern| template.contains(pattern)) {
            true => MessageFormat::Structured,
            false => MessageFormat::Flat,
        }
    }
}

/// A model's chat template, as its files have it.
#[derive(Clone, Debug)]
pub(crate) struct ChatSpec {
    /// The file that it is in, for messages.
    pub(crate) path: PathBuf,
    pub(crate) template: String,
    /// `None`: by what stands in the template.
    pub(crate) format: Option<MessageFormat>,
    /// What sentence_bert_config.json gives to the template.
    pub(crate) arguments: Map<String, Value>,
    /// Whether a conversation is a query and a document, and not a text.
    pub(crate) of_pairs: bool,
}

/// What a conversation is made of.
#[derive(Clone, Copy)]
pub(super) enum Said<'a> {
    /// The user's message.
    Text(&'a str),
    /// A message of the role `query` and one of the role `document`.
    Pair(&'a str, &'a str),
}

impl Said<'_> {
    /// The same with other words.
    pub(super) fn filled(self, filler: &str) -> Said<'_> {
        match self {
            Said::Text(_) => Said::Text(filler),
            Said::Pair(..) => Said::Pair(filler, filler),
        }
    }
}

/// A chat template at work.
pub(super) struct Chat {
    environment: Environment<'static>,
    format: MessageFormat,
    /// What every rendering sees: special tokens, arguments.
    context: Map<String, Value>,
    /// Whether what the template puts behind a text is put back where it was cut off.
    pub(super) restores_suffix: bool,
    description: String,
}

/// Instructions of the template language that a rendering may take; the longest templates in use take some thousands.
const FUEL: u64 = 10_000_000;

impl Chat {
    /// Reads a template. `roles`: the special tokens by their roles (`eos_token`).
    pub(super) fn new(spec: &ChatSpec, roles: impl Iterator<Item = (String, String)>) -> ModelResult<Chat> {
        let mut context: Map<String, Value> = roles.map(|(role, text)| (role, Value::from(text))).collect();
        let mut restores_suffix = true;
        for (name, value) in &spec.arguments {
            match (name.as_str(), value) {
                ("restore_suffix", value) => restores_suffix = value != &Value::Bool(false),
                _ => drop(context.insert(name.clone(), value.clone())),
            }
        }
        context.entry("add_generation_prompt").or_insert(Value::Bool(false));
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.unwrap_or_default());
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", python_json);
        environment.add_function("raise_exception", |message: String| -> Result<Jinja, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        let source = without_generation_marks(&spec.template);
        let added = environment.add_template_owned("chat", source);
        let format = spec.format.unwrap_or_else(|| MessageFormat::of(&spec.template));
        let description = format!("{:?} {format:?} {:?}", spec.template, spec.arguments);
        let chat = Chat { environment, format, context, restores_suffix, description };
        // A template that does not render would fail with every text.
        let works = added.map_err(|e| e.to_string()).and_then(|()| chat.check(spec.of_pairs));
        works.map_err(|problem| ModelError::Config {
            path: spec.path.clone(),
            problem: format!(
                "its chat template, through which the model's texts go, is not one that can be rendered: {problem}"
            ),
        })?;
        Ok(chat)
    }

    /// Renders what it is for. A template for chats may know no queries and documents, and leave them out.
    fn check(&self, of_pairs: bool) -> Result<(), String> {
        if !of_pairs {
            return self.rendered("", Said::Text("text")).map(drop);
        }
        let (query, document) = ("a-first-text", "a-second-text");
        let rendered = self.rendered("", Said::Pair(query, document))?;
        if rendered.contains(query) && rendered.contains(document) {
            return Ok(());
        }
        Err("it leaves out messages of the roles `query` and `document`, of which a reranker's conversation consists".to_owned())
    }

    /// A conversation: the messages of what is said, after a system message with the prompt where there is one.
    pub(super) fn render(&self, prompt: &str, said: Said<'_>) -> RequestResult<String> {
        self.rendered(prompt, said).map_err(|problem| RequestError::Tokenize {
            problem: format!("the model's chat template refuses it: {problem}"),
        })
    }

    fn rendered(&self, prompt: &str, said: Said<'_>) -> Result<String, String> {
        let content = |text: &str| match self.format {
            MessageFormat::Flat => Value::from(text),
            MessageFormat::Structured => json!([{"type": "text", "text": text}]),
        };
        let message = |role: &str, text: &str| json!({"role": role, "content": content(text)});
        let system = (!prompt.is_empty()).then(|| message("system", prompt));
        let said = match said {
            Said::Text(text) => vec![message("user", text)],
            Said::Pair(query, document) => vec![message("query", query), message("document", document)],
        };
        let messages: Vec<Value> = system.into_iter().chain(said).collect();
        let mut context = self.context.clone();
        context.insert("messages".to_owned(), Value::Array(messages));
        for absent in ["tools", "documents"] {
            context.entry(absent).or_insert(Value::Null);
        }
        let template = self.environment.get_template("chat").map_err(|e| e.to_string())?;
        template.render(Jinja::from(Serde(context))).map_err(|e| e.to_string())
    }

    /// All that decides what it makes of a text.
    pub(super) fn description(&self) -> &str {
        &self.description
    }
}

/// `{% generation %}` marks what an assistant said, for training. It has no part in what is written.
fn without_generation_marks(template: &str) -> String {
    let mut template = template.to_owned();
    for mark in ["generation", "endgeneration"] {
        for (open, close) in [("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}")] {
            let (from, to) = (format!("{open} {mark} {close}"), format!("{open} if true {close}"));
            let to = if mark == "generation" { to } else { format!("{open} endif {close}") };
            template = template.replace(&from, &to);
        }
    }
    template
}

/// Python's `json.dumps` with `ensure_ascii=False`: a space behind each comma and colon.
fn python_json(value: &Jinja, options: minijinja::value::Kwargs) -> Result<Jinja, Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let value =
        serde_json::to_value(value).map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    let mut text = String::new();
    write_json(&value, indent, 0, &mut text);
    Ok(Jinja::from_safe_string(text))
}

fn write_json(value: &Value, indent: Option<usize>, depth: usize, text: &mut String) {
    let line =
        |depth: usize| indent.map_or(String::new(), |width| format!("\n{}", " ".repeat(width * depth)));
    let comma = if indent.is_some() { "," } else { ", " };
    match value {
        Value::Array(items) if !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                text.push_str(if i == 0 { "[" } else { comma });
                text.push_str(&line(depth + 1));
                write_json(item, indent, depth + 1, text);
            }
            text.push_str(&line(depth));
            text.push(']');
        }
        Value::Object(entries) if !entries.is_empty() => {
            for (i, (key, item)) in entries.iter().enumerate() {
                text.push_str(if i == 0 { "{" } else { comma });
                text.push_str(&line(depth + 1));
                text.push_str(&format!("{}: ", Value::from(key.as_str())));
                write_json(item, indent, depth + 1, text);
            }
            text.push_str(&line(depth));
            text.push('}');
        }
        other => text.push_str(&other.to_string()),
    }
}

/// The chat template in tokenizer_config.json: a string, or a list of named ones of which `default` counts.
pub(crate) fn in_settings(settings: &Json) -> ModelResult<Option<String>> {
    match settings.get("chat_template") {
        None => Ok(None),
        Some(Value::String(template)) => Ok(Some(template.clone())),
        Some(Value::Array(templates)) => {
            let default =
                templates.iter().find(|entry| entry.get("name").is_some_and(|name| name == "default"));
            let template = default.and_then(|entry| entry.get("template")).and_then(Value::as_str);
            let missing = "`chat_template` has several templates and none of the name `default`";
            template.map(|template| Some(template.to_owned())).ok_or_else(|| settings.error(missing))
        }
        Some(other) => Err(settings.error(format!("`chat_template` is {other}, expected a string"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(template: &str) -> ModelResult<Chat> {
        let spec = ChatSpec {
            path: "chat_template.jinja".into(),
            template: template.to_owned(),
            format: None,
            arguments: Map::new(),
            of_pairs: false,
        };
        Chat::new(&spec, [("eos_token".to_owned(), "</s>".to_owned())].into_iter())
    }

    /// Qwen's and Llama's ways of writing, as transformers renders them.
    #[test]
    fn texts_become_messages() {
        let qwen = "{%- if messages[0].role == 'system' %}\n    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}\n{%- endif %}\n{%- for message in messages %}\n{%- if message.role == 'user' %}\n{{- '<|im_start|>' + message.role + '\\n' + message.content.strip() + '<|im_end|>\\n' }}\n{%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n{{- '<|im_start|>assistant\\n' }}\n{%- endif %}";
        let rendered = chat(qwen).unwrap().render("Find it.", Said::Text(" hello ")).unwrap();
        assert_eq!(rendered, "<|im_start|>system\nFind it.<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n");
        let structured = "{% for m in messages %}{{ m['role'] }}: {% for item in m['content'] %}{% if item['type'] == 'text' %}{{ item['text'] }}{% endif %}{% endfor %}{{ eos_token }}{% endfor %}";
        assert_eq!(chat(structured).unwrap().render("", Said::Text("a\nb")).unwrap(), "user: a\nb</s>");
        let marked = "{% for m in messages %}{% generation %}{{ m['content'] | tojson }}{% endgeneration %}{% endfor %}";
        assert_eq!(chat(marked).unwrap().render("", Said::Text("é \"<\"")).unwrap(), "\"é \\\"<\\\"\"");
    }

    #[test]
    fn what_cannot_be_rendered_is_refused_by_name() {
        for (template, problem) in [
            ("{% for m in messages %}", "chat template"),
            ("{{ nothing_known(messages) }}", "nothing_known"),
            ("{{ raise_exception('only for chats') }}", "only for chats"),
            ("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "fuel"),
        ] {
            let error = chat(template).err().expect(template).to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
