//! Files that `torch.save` wrote: a zip archive of a pickled dictionary and the tensors' bytes.
//!
//! A pickle is a program. This runs the few instructions that a dictionary of tensors needs, calls
//! nothing, and refuses everything else.
//!
//! Formats: `torch/serialization.py`; Python's `pickletools.py` for the instructions.

use rawzip::{CompressionMethod, ZipArchive};
use safetensors::Dtype;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

/// A tensor in such a file.
pub(super) struct StoredTensor {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Of the whole file.
    pub(super) bytes: Range<usize>,
}

/// No model's dictionary comes near these.
const MAX_ENTRIES: usize = 1 << 20;
const MAX_STACK: usize = 1 << 22;
const MAX_DEPTH: usize = 32;

/// All tensors of a file.
pub(super) fn tensors(file: &[u8]) -> Result<Vec<StoredTensor>, String> {
    let members = members(file)?;
    let pickle = members.iter().find(|(name, _)| name.ends_with("data.pkl"));
    let (name, pickle) = pickle.ok_or("there is no data.pkl in it, so torch.save did not write it")?;
    let folder = name.strip_suffix("data.pkl").unwrap_or_default();
    if let Some(order) = members.get(&format!("{folder}byteorder"))
        && file[order.clone()] != *b"little"
    {
        return Err("its numbers are big-endian".to_owned());
    }
    let Value::Dict(entries) = Machine::run(&file[pickle.clone()])? else {
        return Err("it holds something else than a dictionary of tensors".to_owned());
    };
    let mut found = Vec::new();
    for (name, value) in entries {
        match (name, value) {
            (Value::Text(name), Value::Tensor(tensor)) => {
                let key = format!("{folder}data/{}", tensor.storage);
                let storage =
                    members.get(&key).ok_or(format!("`{name}` is in `{key}`, which is not there"))?;
                found.push(place(name.to_string(), &tensor, storage)?);
            }
            (_, value) if !matches!(value, Value::Tensor(_)) => {}
            _ => return Err("a tensor has no name".to_owned()),
        }
    }
    Ok(found)
}

/// The members of the archive: name and place.
fn members(file: &[u8]) -> Result<HashMap<String, Range<usize>>, String> {
    let broken = |e: rawzip::Error| format!("not a zip archive as torch.save writes it: {e}");
    let archive = ZipArchive::from_slice(file).map_err(broken)?;
    let mut members = HashMap::new();
    for entry in archive.entries() {
        let entry = entry.map_err(broken)?;
        if members.len() >= MAX_ENTRIES {
            return Err(format!("it has more than {MAX_ENTRIES} members"));
        }
        let name = String::from_utf8_lossy(entry.file_path().as_ref()).into_owned();
        if entry.compression_method() != CompressionMethod::STORE {
            return Err(format!("its member `{name}` is compressed, which torch.save does not do"));
        }
        let (start, end) = archive.get_entry(entry.wayfinder()).map_err(broken)?.compressed_data_range();
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let range = range.map(|(start, end)| start..end).filter(|range| file.get(range.clone()).is_some());
        let range = range.ok_or_else(|| format!("its member `{name}` lies beyond the end"))?;
        members.insert(name, range);
    }
    Ok(members)
}

/// Where a tensor's elements are; they must stand in a row, first dimension outermost.
fn place(name: String, tensor: &TensorRef, storage: &Range<usize>) -> Result<StoredTensor, String> {
    let (dtype, size) = match tensor.kind.as_str() {
        "FloatStorage" => (Dtype::F32, 4),
        "HalfStorage" => (Dtype::F16, 2),
        "BFloat16Storage" => (Dtype::BF16, 2),
        "LongStorage" => (Dtype::I64, 8),
        "IntStorage" => (Dtype::I32, 4),
        "DoubleStorage" => (Dtype::F64, 8),
        "BoolStorage" => (Dtype::BOOL, 1),
        other => return Err(format!("`{name}` has elements of the kind {other}")),
    };
    let mut expected = 1usize;
    for (length, stride) in tensor.shape.iter().zip(&tensor.stride).rev() {
        if *length != 1 && *stride != expected {
            return Err(format!("`{name}` is stored transposed or in parts (stride {:?})", tensor.stride));
        }
        expected = expected.checked_mul(*length).ok_or_else(|| format!("`{name}` is too large"))?;
    }
    let start = tensor.offset.checked_mul(size).and_then(|offset| storage.start.checked_add(offset));
    let end = start.zip(expected.checked_mul(size)).and_then(|(start, bytes)| start.checked_add(bytes));
    match (start, end) {
        (Some(start), Some(end)) if end <= storage.end && tensor.shape.len() == tensor.stride.len() => {
            Ok(StoredTensor { name, dtype, shape: tensor.shape.clone(), bytes: start..end })
        }
        _ => Err(format!("`{name}` is larger than what is stored of it")),
    }
}

/// What is known of a tensor in the dictionary.
#[derive(Clone, Debug)]
struct TensorRef {
    kind: String,
    storage: String,
    offset: usize,
    shape: Vec<usize>,
    stride: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Value {
    Mark,
    None,
    Bool,
    Int(i64),
    Text(Rc<str>),
    Global(Rc<str>),
    Tuple(Tuple),
    List,
    Dict(Vec<(Value, Value)>),
    Storage { kind: String, key: String },
    Tensor(TensorRef),
}

/// Shared, since a program may recall it any number of times, and of limited depth.
#[derive(Clone, Debug)]
struct Tuple {
    items: Rc<[Value]>,
    depth: usize,
}

impl Tuple {
    fn value(items: Vec<Value>) -> Result<Value, String> {
        let depth = |value: &Value| match value {
            Value::Tuple(tuple) => tuple.depth,
            Value::Dict(_) => 1, // only the outermost has entries
            _ => 0,
        };
        let depth = 1 + items.iter().map(depth).max().unwrap_or(0);
        if depth > MAX_DEPTH
            || items.iter().any(|item| matches!(item, Value::Dict(entries) if !entries.is_empty()))
        {
            return Err("its values are nested too deeply".to_owned());
        }
        Ok(Value::Tuple(Tuple { items: items.into(), depth }))
    }
}

/// The pickle machine: a stack, and values remembered by number.
struct Machine<'a> {
    program: &'a [u8],
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
}

impl<'a> Machine<'a> {
    fn run(program: &'a [u8]) -> Result<Value, String> {
        let mut machine = Machine { program, stack: Vec::new(), memo: HashMap::new() };
        loop {
            if machine.stack.len() > MAX_STACK || machine.memo.len() > MAX_STACK {
                return Err("its dictionary is too large".to_owned());
            }
            let [instruction] = machine.take::<1>()?;
            if instruction == b'.' {
                return machine.pop();
            }
            machine.step(instruction)?;
        }
    }

    fn step(&mut self, instruction: u8) -> Result<(), String> {
        match instruction {
            0x80 => self.take::<1>().map(drop)?, // PROTO
            0x95 => self.take::<8>().map(drop)?, // FRAME
            b'(' => self.stack.push(Value::Mark),
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool),
            b'K' => {
                let [byte] = self.take()?;
                self.stack.push(Value::Int(byte.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.take()?);
                self.stack.push(Value::Int(value.into()));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.take()?);
                self.stack.push(Value::Int(value.into()));
            }
            0x8a => {
                let [length] = self.take()?;
                let bytes = self.take_slice(length.into())?;
                let mut wide = [0; 8];
                let wide_enough = wide.get_mut(..bytes.len()).ok_or("a number in it is too large")?;
                wide_enough.copy_from_slice(bytes);
                self.stack.push(Value::Int(i64::from_le_bytes(wide)));
            }
            b'X' => {
                let length = u32::from_le_bytes(self.take()?);
                self.push_text(length as usize)?;
            }
            0x8c => {
                let [length] = self.take()?;
                self.push_text(length.into())?;
            }
            b'c' => {
                let (module, name) = (self.take_line()?, self.take_line()?);
                self.stack.push(Value::Global(format!("{module} {name}").into()));
            }
            0x93 => {
                let (Value::Text(name), Value::Text(module)) = (self.pop()?, self.pop()?) else {
                    return Err("it names a function by something else than text".to_owned());
                };
                self.stack.push(Value::Global(format!("{module} {name}").into()));
            }
            b'q' => {
                let [index] = self.take()?;
                self.remember(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.take()?);
                self.remember(index)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let [index] = self.take()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.take()?);
                self.recall(index)?;
            }
            b')' => self.stack.push(Tuple::value(Vec::new())?),
            0x85..=0x87 => {
                let first = self.stack.len().checked_sub(usize::from(instruction - 0x84));
                let items = self.stack.split_off(first.ok_or("it takes more values than there are")?);
                self.stack.push(Tuple::value(items)?);
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.stack.push(Tuple::value(items)?);
            }
            b'}' => self.stack.push(Value::Dict(Vec::new())),
            b']' => self.stack.push(Value::List),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(items)?;
            }
            b'e' => drop(self.pop_to_mark()?), // items of a list, which nothing here reads
            b'a' => drop(self.pop()?),
            b'b' => drop(self.pop()?), // attributes of an object
            b'Q' => {
                let id = self.pop()?;
                self.stack.push(storage(id)?);
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.stack.push(call(&function, arguments)?);
            }
            other => return Err(format!("its dictionary uses the pickle instruction {other:#04x}")),
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.program.split_first_chunk::<N>().ok_or("its dictionary ends too early")?;
        self.program = rest;
        Ok(*taken)
    }

    fn take_slice(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.program.split_at_checked(length).ok_or("its dictionary ends too early")?;
        self.program = rest;
        Ok(taken)
    }

    fn take_line(&mut self) -> Result<String, String> {
        let end = self.program.iter().position(|byte| *byte == b'\n').ok_or("a name in it does not end")?;
        let line = String::from_utf8_lossy(self.take_slice(end)?).into_owned();
        self.take::<1>()?;
        Ok(line)
    }

    fn push_text(&mut self, length: usize) -> Result<(), String> {
        let text = std::str::from_utf8(self.take_slice(length)?).map_err(|e| format!("a name in it: {e}"))?;
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(|| "it takes more values than there are".to_owned())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark));
        let items = self.stack.split_off(mark.ok_or("it takes more values than there are")?);
        Ok(items.into_iter().skip(1).collect())
    }

    fn remember(&mut self, index: u32) -> Result<(), String> {
        match self.stack.last() {
            // What grows afterwards is not recalled by files of tensors.
            Some(Value::Dict(entries)) if !entries.is_empty() => Ok(()),
            Some(value) => {
                self.memo.insert(index, value.clone());
                Ok(())
            }
            None => Err("it remembers a value that is not there".to_owned()),
        }
    }

    fn recall(&mut self, index: u32) -> Result<(), String> {
        let value = self.memo.get(&index).ok_or("it recalls a value that it has not stored")?;
        self.stack.push(value.clone());
        Ok(())
    }

    /// Keys and values in turn, into the dictionary below them.
    fn set_items(&mut self, items: Vec<Value>) -> Result<(), String> {
        let Some(Value::Dict(entries)) = self.stack.last_mut() else {
            return Err("it puts entries into something that is no dictionary".to_owned());
        };
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            if entries.len() >= MAX_ENTRIES {
                return Err("its dictionary is too large".to_owned());
            }
            if matches!((&key, &value), (Value::Dict(_), _) | (_, Value::Dict(_))) {
                continue; // `_metadata` and the like
            }
            entries.push((key, value));
        }
        Ok(())
    }
}

/// `('storage', kind, key, place, elements)`
fn storage(id: Value) -> Result<Value, String> {
    if let Value::Tuple(parts) = id
        && let [Value::Text(tag), Value::Global(kind), Value::Text(key), ..] = &*parts.items
        && **tag == *"storage"
        && let Some(kind) = kind.strip_prefix("torch ")
    {
        return Ok(Value::Storage { kind: kind.to_owned(), key: key.to_string() });
    }
    Err("it refers to something else than a tensor's storage".to_owned())
}

/// The calls that a dictionary of tensors is made with.
fn call(function: &Value, arguments: Value) -> Result<Value, String> {
    let (Value::Global(name), Value::Tuple(arguments)) = (function, arguments) else {
        return Err("it calls something that is no function".to_owned());
    };
    match (&**name, &*arguments.items) {
        ("collections OrderedDict", []) => Ok(Value::Dict(Vec::new())),
        (
            "torch._utils _rebuild_tensor_v2",
            [Value::Storage { kind, key }, Value::Int(offset), Value::Tuple(shape), Value::Tuple(stride), ..],
        ) => Ok(Value::Tensor(TensorRef {
            kind: kind.clone(),
            storage: key.clone(),
            offset: usize::try_from(*offset).map_err(|_| "a tensor in it starts before its storage")?,
            shape: sizes(&shape.items)?,
            stride: sizes(&stride.items)?,
        })),
        ("torch._utils _rebuild_parameter", [tensor @ Value::Tensor(_), ..]) => Ok(tensor.clone()),
        _ => Err(format!("it calls `{name}`, which is not part of a dictionary of tensors")),
    }
}

fn sizes(values: &[Value]) -> Result<Vec<usize>, String> {
    let size = |value: &Value| match value {
        Value::Int(size) => usize::try_from(*size).ok(),
        _ => None,
    };
    values
        .iter()
        .map(size)
        .collect::<Option<_>>()
        .ok_or_else(|| "a tensor's shape in it is no list of sizes".to_owned())
}
