//! Files that `torch.save` wrote: a zip archive of a pickled dictionary and the tensors' bytes, or before PyTorch 1.6
//! pickles and bytes in a row.
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
    /// Of the whole file; for a tensor that is a view, of all that it is a view of.
    pub(super) bytes: Range<usize>,
    /// Where its elements are in there, if they do not stand in a row.
    pub(super) view: Option<View>,
}

/// A transposed tensor, or a slice of a larger one: where element (i, j, …) is, counted in elements.
pub(super) struct View {
    pub(super) offset: usize,
    /// From one element to the next, for each dimension.
    pub(super) strides: Vec<usize>,
}

impl StoredTensor {
    /// The bytes of a view's elements in a row, first dimension outermost.
    pub(super) fn gathered(&self, file: &[u8]) -> Option<Vec<u8>> {
        let view = self.view.as_ref()?;
        let (storage, size) = (&file[self.bytes.clone()], bits_of(self.dtype) / 8);
        let count: usize = self.shape.iter().product();
        let mut gathered = Vec::with_capacity(count * size);
        let mut place = vec![0; self.shape.len()];
        for _ in 0..count {
            let at =
                view.offset + place.iter().zip(&view.strides).map(|(i, stride)| i * stride).sum::<usize>();
            gathered.extend_from_slice(&storage[at * size..][..size]);
            for (i, length) in place.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < *length {
                    break;
                }
                *i = 0;
            }
        }
        Some(gathered)
    }
}

fn bits_of(dtype: Dtype) -> usize {
    dtype.bitsize()
}

/// No model's dictionary comes near these.
const MAX_ENTRIES: usize = 1 << 20;
const MAX_STACK: usize = 1 << 22;
const MAX_DEPTH: usize = 32;

/// How a file of PyTorch before 1.6 starts: a pickle of a number that nothing else starts with.
const OLDER: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// All tensors of a file.
pub(super) fn tensors(file: &[u8]) -> Result<Vec<StoredTensor>, String> {
    if file.starts_with(OLDER) {
        return older_tensors(file);
    }
    let members = members(file)?;
    let pickle = members.iter().find(|(name, _)| name.ends_with("data.pkl"));
    let (name, pickle) = pickle.ok_or("there is no data.pkl in it, so torch.save did not write it")?;
    let folder = name.strip_suffix("data.pkl").unwrap_or_default();
    if let Some(order) = members.get(&format!("{folder}byteorder"))
        && file[order.clone()] != *b"little"
    {
        return Err("its numbers are big-endian".to_owned());
    }
    let mut machine = Machine::new(&file[pickle.clone()]);
    let value = machine.run()?;
    of_dictionary(value, |storage| {
        let key = format!("{folder}data/{storage}");
        members.get(&key).cloned().ok_or(format!("`{key}` is not there"))
    })
}

/// A magic number, a version, what machine it was, the dictionary, the list of its storages; then for each of them its
/// number of elements, and these.
///
/// `torch/serialization.py`, `_legacy_load`.
fn older_tensors(file: &[u8]) -> Result<Vec<StoredTensor>, String> {
    let mut machine = Machine::new(&file[OLDER.len()..]);
    for _ in ["version", "machine"] {
        machine.run()?;
    }
    let dictionary = machine.run()?;
    let Value::List(keys) = machine.run()? else {
        return Err("there is no list of storages behind its dictionary".to_owned());
    };
    let kinds: HashMap<&str, &str> =
        machine.storages.iter().map(|(key, kind)| (key.as_str(), kind.as_str())).collect();
    let mut places = HashMap::new();
    let mut start = file.len() - machine.program.len();
    for key in &keys {
        let Value::Text(key) = key else { return Err("a storage in it has no name".to_owned()) };
        let kind = kinds.get(&**key).ok_or("it has a storage that no tensor is in")?;
        let count = file.get(start..start + 8).and_then(|bytes| bytes.first_chunk::<8>());
        let count = usize::try_from(u64::from_le_bytes(*count.ok_or("it ends too early")?)).ok();
        let size = element(kind)
            .map(|dtype| bits_of(dtype) / 8)
            .ok_or(format!("it has elements of the kind {kind}"))?;
        start += 8;
        let end = count.and_then(|count| count.checked_mul(size)).and_then(|bytes| start.checked_add(bytes));
        let end = end.filter(|&end| end <= file.len()).ok_or("it ends too early")?;
        places.insert(key.to_string(), start..end);
        start = end;
    }
    of_dictionary(dictionary, |storage| {
        places.get(storage).cloned().ok_or(format!("the storage `{storage}` is not there"))
    })
}

/// The tensors of a dictionary; `storage` says where in the file a storage is.
fn of_dictionary(
    value: Value,
    storage: impl Fn(&str) -> Result<Range<usize>, String>,
) -> Result<Vec<StoredTensor>, String> {
    let Value::Dict(entries) = value else {
        return Err("it holds something else than a dictionary of tensors".to_owned());
    };
    let mut found = Vec::new();
    for (name, value) in entries {
        match (name, value) {
            (Value::Text(name), Value::Tensor(tensor)) => {
                let place_of = storage(&tensor.storage)
                    .map_err(|problem| format!("`{name}` is in no storage: {problem}"))?;
                found.push(place(name.to_string(), &tensor, &place_of)?);
            }
            // Settings and numbers that somebody saved beside the tensors.
            (_, value) if !matches!(value, Value::Tensor(_)) => {}
            _ => return Err("a tensor has no name".to_owned()),
        }
    }
    Ok(found)
}

/// The type of a storage's elements.
fn element(kind: &str) -> Option<Dtype> {
    Some(match kind {
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "DoubleStorage" => Dtype::F64,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
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

/// Where a tensor's elements are.
fn place(name: String, tensor: &TensorRef, storage: &Range<usize>) -> Result<StoredTensor, String> {
    let TensorRef { kind, offset, shape, stride, .. } = tensor;
    let dtype = element(kind).ok_or_else(|| format!("`{name}` has elements of the kind {kind}"))?;
    let too_large = || format!("`{name}` is larger than what is stored of it");
    let size = bits_of(dtype) / 8;
    if shape.len() != stride.len() {
        return Err(too_large());
    }
    let mut in_a_row = true;
    let mut count = 1usize;
    let mut last = *offset;
    for (length, stride) in shape.iter().zip(stride).rev() {
        in_a_row &= *length == 1 || *stride == count;
        count = count.checked_mul(*length).ok_or_else(too_large)?;
        let step = length.saturating_sub(1).checked_mul(*stride);
        last = step.and_then(|step| last.checked_add(step)).ok_or_else(too_large)?;
    }
    let stored = storage.len() / size;
    // More elements than are stored would be the same ones over and over.
    if count > stored || (count > 0 && last >= stored) {
        return Err(too_large());
    }
    let (shape, strides) = (shape.clone(), stride.clone());
    Ok(match in_a_row {
        true => {
            let start = storage.start + (if count == 0 { 0 } else { offset * size });
            StoredTensor { name, dtype, shape, bytes: start..start + count * size, view: None }
        }
        false => {
            let view = Some(View { offset: *offset, strides });
            StoredTensor { name, dtype, shape, bytes: storage.clone(), view }
        }
    })
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
    /// A fraction, more than fits, or an object: nothing that a tensor is made of.
    Other,
    Text(Rc<str>),
    Global(Rc<str>),
    Tuple(Tuple),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Storage {
        kind: String,
        key: String,
    },
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
        // Only the outermost dictionary is read: what one inside a tuple holds would only nest.
        let flat = |item| match item {
            Value::Dict(entries) if !entries.is_empty() => Value::Other,
            item => item,
        };
        let items: Rc<[Value]> = items.into_iter().map(flat).collect();
        let depth = |value: &Value| if let Value::Tuple(tuple) = value { tuple.depth } else { 0 };
        let depth = 1 + items.iter().map(depth).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err("its values are nested too deeply".to_owned());
        }
        Ok(Value::Tuple(Tuple { items, depth }))
    }
}

/// The pickle machine: a stack, and values remembered by number.
struct Machine<'a> {
    program: &'a [u8],
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
    /// The storages that it refers to: key and kind.
    storages: Vec<(String, String)>,
}

impl<'a> Machine<'a> {
    fn new(program: &'a [u8]) -> Machine<'a> {
        Machine { program, stack: Vec::new(), memo: HashMap::new(), storages: Vec::new() }
    }

    /// Runs one pickle; another may follow.
    fn run(&mut self) -> Result<Value, String> {
        (self.stack, self.memo) = (Vec::new(), HashMap::new());
        loop {
            if self.stack.len() > MAX_STACK
                || self.memo.len() > MAX_STACK
                || self.storages.len() > MAX_ENTRIES
            {
                return Err("its dictionary is too large".to_owned());
            }
            let [instruction] = self.take::<1>()?;
            if instruction == b'.' {
                return self.pop();
            }
            self.step(instruction)?;
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
                let mut wide = [if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 }; 8];
                self.stack.push(match wide.get_mut(..bytes.len()) {
                    Some(wide_enough) => {
                        wide_enough.copy_from_slice(bytes);
                        Value::Int(i64::from_le_bytes(wide))
                    }
                    None => Value::Other,
                });
            }
            b'G' => {
                self.take::<8>()?;
                self.stack.push(Value::Other);
            }
            0x8b => {
                let length = u32::from_le_bytes(self.take()?);
                self.take_slice(length as usize)?;
                self.stack.push(Value::Other);
            }
            b'X' | b'T' => {
                let length = u32::from_le_bytes(self.take()?);
                self.push_text(length as usize)?;
            }
            0x8c | b'U' => {
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
            b']' => self.stack.push(Value::List(Vec::new())),
            b'0' => drop(self.pop()?),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(items)?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'b' => drop(self.pop()?), // attributes of an object
            b'Q' => {
                let id = self.pop()?;
                let storage = storage(id)?;
                if let Value::Storage { kind, key } = &storage {
                    self.storages.push((key.clone(), kind.clone()));
                }
                self.stack.push(storage);
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

    /// Items, into the list below them.
    fn append(&mut self, items: Vec<Value>) -> Result<(), String> {
        match self.stack.last_mut() {
            Some(Value::List(list)) if list.len() + items.len() <= MAX_ENTRIES => {
                // A list of names is all that is read; what else is in lists would only nest.
                list.extend(items.into_iter().filter(|item| matches!(item, Value::Text(_))));
                Ok(())
            }
            Some(Value::List(_)) => Err("its dictionary is too large".to_owned()),
            _ => Err("it puts items into something that is no list".to_owned()),
        }
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
        && let [Value::Text(tag), Value::Global(kind), Value::Text(key), rest @ ..] = &*parts.items
        && **tag == *"storage"
        && let Some(kind) = kind.strip_prefix("torch ")
    {
        // Before PyTorch 1.6 a storage may be a part of another.
        if matches!(rest, [_, _, Value::Tuple(_), ..]) {
            return Err("it has a storage that is a part of another; load and save it with a newer PyTorch"
                .to_owned());
        }
        return Ok(Value::Storage { kind: kind.to_owned(), key: key.to_string() });
    }
    Err("it refers to something else than a tensor's storage".to_owned())
}

/// What else `torch.load` lets a dictionary hold: nothing that a tensor is made of.
///
/// `torch/_weights_only_unpickler.py`, `_get_allowed_globals`; Python 2 called `builtins` otherwise.
const OTHERS: [&str; 11] = [
    "collections Counter",
    "torch Size",
    "torch device",
    "torch.serialization _get_layout",
    "_codecs encode",
    "builtins bytearray",
    "builtins set",
    "builtins complex",
    "__builtin__ bytearray",
    "__builtin__ set",
    "__builtin__ complex",
];

/// The calls that a dictionary of tensors is made with.
fn call(function: &Value, arguments: Value) -> Result<Value, String> {
    let (Value::Global(name), Value::Tuple(arguments)) = (function, arguments) else {
        return Err("it calls something that is no function".to_owned());
    };
    match (&**name, &*arguments.items) {
        ("collections OrderedDict", []) => Ok(Value::Dict(Vec::new())),
        (
            "torch._utils _rebuild_tensor_v2" | "torch._utils _rebuild_tensor",
            [Value::Storage { kind, key }, Value::Int(offset), Value::Tuple(shape), Value::Tuple(stride), ..],
        ) => Ok(Value::Tensor(TensorRef {
            kind: kind.clone(),
            storage: key.clone(),
            offset: usize::try_from(*offset).map_err(|_| "a tensor in it starts before its storage")?,
            shape: sizes(&shape.items)?,
            stride: sizes(&stride.items)?,
        })),
        (
            "torch._utils _rebuild_parameter" | "torch._utils _rebuild_parameter_with_state",
            [tensor @ Value::Tensor(_), ..],
        ) => Ok(tensor.clone()),
        // A tensor of another class or with attributes: how it is made, the class, with what, the attributes.
        ("torch._tensor _rebuild_from_type_v2", [function, _, arguments, ..]) => {
            call(function, arguments.clone())
        }
        (other, _) if OTHERS.contains(&other) => Ok(Value::Other),
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
