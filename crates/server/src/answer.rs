//! What goes back to a client.

use crate::call::Facts;
use serde_json::Value;

/// What goes back to a client, if all went well.
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    pub(crate) content_type: &'static str,
    pub(crate) facts: Option<Facts>,
}

impl Answer {
    pub(crate) fn json(value: &Value) -> Answer {
        Answer::bytes(value.to_string().into_bytes())
    }

    /// JSON that is written already.
    pub(crate) fn bytes(body: Vec<u8>) -> Answer {
        Answer { body, content_type: "application/json", facts: None }
    }

    pub(crate) fn text(text: impl Into<String>) -> Answer {
        Answer { body: text.into().into_bytes(), content_type: "text/plain; charset=utf-8", facts: None }
    }

    pub(crate) fn facts(mut self, facts: Facts) -> Answer {
        self.facts = Some(facts);
        self
    }
}

/// Appends a string, as JSON.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(Value::from(text).to_string().as_bytes());
}

/// Appends a list, whose elements are written by number.
pub(crate) fn write_list<E>(
    count: usize,
    out: &mut Vec<u8>,
    mut element: impl FnMut(usize, &mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    aside(count > LONG_LIST, || {
        out.push(b'[');
        for i in 0..count {
            if i > 0 {
                out.push(b',');
            }
            element(i, out)?;
        }
        out.push(b']');
        Ok(())
    })
}

/// Elements of a list that takes long to write.
const LONG_LIST: usize = 256;

/// Runs what takes long so that it holds up no other connection: another thread serves those meanwhile, where there can be one.
pub(crate) fn aside<T>(is_long: bool, work: impl FnOnce() -> T) -> T {
    let has_others = || {
        let runtime = tokio::runtime::Handle::try_current();
        runtime.is_ok_and(|runtime| runtime.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread)
    };
    if is_long && has_others() { tokio::task::block_in_place(work) } else { work() }
}
