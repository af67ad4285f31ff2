//! Which columns of a table are what.

use std::fmt;
use std::str::FromStr;

/// Which columns are what. A name is a column's, or a JSON pointer such as `/body/en` into its values.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Columns {
    /// The text; `None`: the column `text`, or the only one that holds text.
    pub text: Option<TextSource>,
    /// A title for each text.
    pub title: Option<FieldPath>,
    /// What a row is known by: kept, and named in the output's metadata.
    pub id: Option<String>,
    /// The columns that come out beside the vectors.
    pub keep: Keep,
    /// The task of each row.
    pub task: Option<FieldPath>,
    /// The name of the model's prompt for each row.
    pub prompt_name: Option<FieldPath>,
    /// The instruction of each row.
    pub instruction: Option<FieldPath>,
}

/// The columns that come out beside the vectors.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Keep {
    /// None but the id.
    #[default]
    Nothing,
    /// All.
    All,
    /// These.
    Named(Vec<String>),
}

/// The way to a value: a column, and then names inside its values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldPath(pub(crate) Vec<String>);

impl FieldPath {
    pub(crate) fn column(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }
}

impl FromStr for FieldPath {
    type Err = String;

    /// A column's name, or a JSON pointer (RFC 6901), which starts with a slash.
    fn from_str(text: &str) -> Result<FieldPath, String> {
        match text.strip_prefix('/') {
            Some(pointer) => {
                let names: Vec<String> =
                    pointer.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect();
                if names[0].is_empty() {
                    return Err(format!(
                        "`{text}` is no JSON pointer to a value; expected one such as /body/en"
                    ));
                }
                Ok(FieldPath(names))
            }
            None if text.is_empty() => Err("a column's name is empty".to_owned()),
            None => Ok(FieldPath(vec![text.to_owned()])),
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [column] => f.write_str(column),
            names => {
                names.iter().try_for_each(|name| write!(f, "/{}", name.replace('~', "~0").replace('/', "~1")))
            }
        }
    }
}

/// What a text is made of: one value, or a template of several such as `{title}\n{body}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextSource {
    pub(crate) parts: Vec<TextPart>,
    written: String,
    /// Whether nobody said it, so that a JSON object's `title` counts too.
    pub(crate) is_usual: bool,
}

/// A part of a template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TextPart {
    Literal(String),
    Field(FieldPath),
}

impl TextSource {
    /// The column of this name, which is the text because of its name or because no other can be.
    pub(crate) fn usual(column: &str) -> TextSource {
        let parts = vec![TextPart::Field(FieldPath(vec![column.to_owned()]))];
        TextSource { parts, written: column.to_owned(), is_usual: true }
    }

    /// The value that is the whole text, unless there is a template.
    pub(crate) fn single(&self) -> Option<&FieldPath> {
        match &self.parts[..] {
            [TextPart::Field(path)] => Some(path),
            _ => None,
        }
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &FieldPath> {
        self.parts.iter().filter_map(|part| match part {
            TextPart::Field(path) => Some(path),
            TextPart::Literal(_) => None,
        })
    }

    /// The text of a row whose field has `value`s; `None` if all of them are null.
    pub(crate) fn fill<'v>(&self, mut value: impl FnMut(usize) -> Option<&'v str>) -> Option<String> {
        let (mut text, mut field, mut found) = (String::new(), 0, false);
        for part in &self.parts {
            match part {
                TextPart::Literal(literal) => text += literal,
                TextPart::Field(_) => {
                    let value = value(field);
                    found |= value.is_some();
                    text += value.unwrap_or_default();
                    field += 1;
                }
            }
        }
        found.then_some(text)
    }
}

impl fmt::Display for TextSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl FromStr for TextSource {
    type Err = String;

    /// A column or pointer; or, with braces, a template: `{name}` stands for a value, `{{` and `}}` for braces, `\n`,
    /// `\t` and `\\` for a new line, a tab and a backslash.
    fn from_str(written: &str) -> Result<TextSource, String> {
        if !written.contains(['{', '}']) {
            return Ok(TextSource {
                parts: vec![TextPart::Field(written.parse()?)],
                written: written.to_owned(),
                is_usual: false,
            });
        }
        let wrong = |problem: &str| format!("the template `{written}` {problem}");
        let (mut parts, mut literal) = (Vec::new(), String::new());
        let mut rest = written.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '{' if rest.next_if_eq(&'{').is_some() => literal.push('{'),
                '}' if rest.next_if_eq(&'}').is_some() => literal.push('}'),
                '}' => return Err(wrong("closes a brace that is not open; write }} for a brace")),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match rest.next() {
                            Some('}') => break,
                            Some(c) => name.push(c),
                            None => {
                                return Err(wrong(
                                    "opens a brace and does not close it; write {{ for a brace",
                                ));
                            }
                        }
                    }
                    if !literal.is_empty() {
                        parts.push(TextPart::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(TextPart::Field(name.parse()?));
                }
                '\\' => literal.push(match rest.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('\\') => '\\',
                    other => {
                        return Err(wrong(&format!(
                            "has \\{} in it; \\n, \\t and \\\\ are known",
                            other.map_or(String::new(), String::from)
                        )));
                    }
                }),
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(TextPart::Literal(literal));
        }
        if !parts.iter().any(|part| matches!(part, TextPart::Field(_))) {
            return Err(wrong("names no column"));
        }
        Ok(TextSource { parts, written: written.to_owned(), is_usual: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_column_a_pointer_or_a_template() {
        let source = |text: &str| text.parse::<TextSource>();
        assert_eq!(source("body").unwrap().single().unwrap().0, ["body"]);
        assert_eq!(source("/a/b~1c~0").unwrap().single().unwrap().0, ["a", "b/c~"]);
        let template = source(r"{title}\n{{{/a/b}}}").unwrap();
        assert!(template.single().is_none());
        let values = [Some("T"), Some("B")];
        assert_eq!(template.fill(|i| values[i]).unwrap(), "T\n{B}");
        assert_eq!(template.fill(|i| [None, Some("B")][i]).unwrap(), "\n{B}");
        assert_eq!(template.fill(|_| None), None);
        for wrong in ["", "/", "{", "}", "{a", "{}", r"{a}\x", "{{x}}"] {
            assert!(source(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_are_written_as_they_are_read() {
        for text in ["title", "/a/b", "/a~1b/c~0d"] {
            assert_eq!(text.parse::<FieldPath>().unwrap().to_string(), text);
        }
    }
}
