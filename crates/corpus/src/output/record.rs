//! The columns of the output.

use arrow_array::builder::{Float32Builder, ListBuilder, StringBuilder, UInt32Builder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Int8Type, UInt8Type};
use arrow_array::{Array, ArrayRef, FixedSizeListArray, PrimitiveArray, RecordBatch, StructArray};
use arrow_buffer::{Buffer, MutableBuffer, NullBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::collections::HashMap;
use std::sync::Arc;
use taskvec::{OutputType, SparseVector};

/// The column of dense vectors, and that of sparse ones.
pub(crate) const VECTOR: &str = "embedding";
pub(crate) const SPARSE: &str = "sparse";

/// Token ids, and the weight of each: the lists of a sparse vector.
pub(crate) const INDICES: &str = "indices";
pub(crate) const VALUES: &str = "values";

/// The type of a stored value.
pub(crate) fn value_type(output_type: OutputType) -> DataType {
    match output_type {
        OutputType::F16 => DataType::Float16,
        OutputType::Int8 | OutputType::Binary => DataType::Int8,
        OutputType::Uint8 | OutputType::Ubinary => DataType::UInt8,
        _ => DataType::Float32,
    }
}

fn item(output_type: OutputType) -> FieldRef {
    Arc::new(Field::new("item", value_type(output_type), false))
}

/// Which columns stand beside the kept ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) output_type: OutputType,
    /// Values of a vector as it is stored.
    pub(crate) width: usize,
    pub(crate) base64: bool,
    pub(crate) dense: bool,
    pub(crate) sparse: bool,
    /// Whether a row may have no vector.
    pub(crate) nullable: bool,
    /// Whether rows are pieces of texts.
    pub(crate) pieces: bool,
    /// Whether each row says its fingerprint.
    pub(crate) fingerprints: bool,
}

/// The columns of the output: `index`, the kept ones, of pieces `piece`, `start` and `end`, `embedding`, `sparse`, `tokens`,
/// `truncated` and, where it is not the same for all, `fingerprint`. Where a kept column has one of these names, ours
/// is called `taskvec_NAME`.
pub(crate) fn schema(
    kept: &Schema,
    shape: Shape,
    metadata: HashMap<String, String>,
) -> Result<SchemaRef, String> {
    let vector_columns = [(VECTOR, shape.dense), (SPARSE, shape.sparse)];
    if let Some((name, _)) =
        vector_columns.iter().find(|(name, is)| *is && kept.field_with_name(name).is_ok())
    {
        return Err(format!(
            "the column `{name}` is kept, and the vectors stand in one of that name; leave it out of --keep, or rename it"
        ));
    }
    let own = |name: &str, kind: DataType, nullable: bool| {
        let taken = kept.field_with_name(name).is_ok();
        Field::new(if taken { format!("taskvec_{name}") } else { name.to_owned() }, kind, nullable)
    };
    let vectors = match shape.base64 {
        true => DataType::Utf8,
        false => DataType::FixedSizeList(item(shape.output_type), shape.width as i32),
    };
    let mut fields = vec![own("index", DataType::Int64, false)];
    fields.extend(kept.fields().iter().map(|field| Field::clone(field)));
    if shape.pieces {
        fields.extend(["piece", "start", "end"].map(|name| own(name, DataType::UInt32, false)));
    }
    if shape.dense {
        fields.push(Field::new(VECTOR, vectors, shape.nullable));
    }
    if shape.sparse {
        fields.push(Field::new(SPARSE, DataType::Struct(sparse_fields()), shape.nullable));
    }
    fields.push(own("tokens", DataType::UInt32, shape.nullable));
    fields.push(own("truncated", DataType::Boolean, shape.nullable));
    if shape.fingerprints {
        fields.push(own("fingerprint", DataType::Utf8, shape.nullable));
    }
    Ok(Arc::new(Schema::new_with_metadata(Fields::from(fields), metadata)))
}

fn sparse_fields() -> Fields {
    let list = |name: &str, kind: DataType| {
        Field::new(name, DataType::List(Arc::new(Field::new("item", kind, false))), false)
    };
    Fields::from(vec![list(INDICES, DataType::UInt32), list(VALUES, DataType::Float32)])
}

/// A column of sparse vectors; `valid`: the rows that have one.
pub(crate) fn sparse_vectors<'v>(
    vectors: impl Iterator<Item = Option<&'v SparseVector>>,
    valid: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    let mut indices =
        ListBuilder::new(UInt32Builder::new()).with_field(Field::new("item", DataType::UInt32, false));
    let mut values =
        ListBuilder::new(Float32Builder::new()).with_field(Field::new("item", DataType::Float32, false));
    for vector in vectors {
        if let Some(vector) = vector {
            indices.values().append_slice(&vector.indices);
            values.values().append_slice(&vector.values);
        }
        indices.append(true);
        values.append(true);
    }
    let lists: Vec<ArrayRef> = vec![Arc::new(indices.finish()), Arc::new(values.finish())];
    Ok(Arc::new(StructArray::try_new(sparse_fields(), lists, valid)?))
}

/// A column of vectors of `values`, `[rows, width]`; `valid`: the rows that have one.
pub(crate) fn vectors(
    values: MutableBuffer,
    shape: Shape,
    valid: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    let row_bytes = shape.width * shape.output_type.value_bytes();
    if shape.base64 {
        let mut texts = StringBuilder::new();
        for (row, bytes) in values.as_slice().chunks_exact(row_bytes.max(1)).enumerate() {
            let has = valid.as_ref().is_none_or(|valid| valid.is_valid(row));
            texts.append_option(has.then(|| BASE64_STANDARD.encode(bytes)));
        }
        return Ok(Arc::new(texts.finish()));
    }
    let buffer = Buffer::from(values);
    let values: ArrayRef = match value_type(shape.output_type) {
        DataType::Float16 => Arc::new(PrimitiveArray::<Float16Type>::new(ScalarBuffer::from(buffer), None)),
        DataType::Int8 => Arc::new(PrimitiveArray::<Int8Type>::new(ScalarBuffer::from(buffer), None)),
        DataType::UInt8 => Arc::new(PrimitiveArray::<UInt8Type>::new(ScalarBuffer::from(buffer), None)),
        _ => Arc::new(PrimitiveArray::<Float32Type>::new(ScalarBuffer::from(buffer), None)),
    };
    Ok(Arc::new(FixedSizeListArray::try_new(item(shape.output_type), shape.width as i32, values, valid)?))
}

/// The bytes of all values of a batch, and the columns that a file of values alone has no place for, if any are kept.
pub(super) fn split_values(rows: &RecordBatch) -> Result<(Vec<u8>, Option<RecordBatch>), ArrowError> {
    let vectors = rows.column_by_name(VECTOR).and_then(|column| column.as_fixed_size_list_opt());
    let vectors = vectors.ok_or_else(|| ArrowError::SchemaError("there are no vectors".to_owned()))?;
    let data = vectors.values().to_data();
    let width = data.data_type().primitive_width().unwrap_or(1);
    let bytes = data.buffers()[0].as_slice()[data.offset() * width..][..data.len() * width].to_vec();
    if !has_others(rows.schema_ref()) {
        return Ok((bytes, None));
    }
    let others: Vec<usize> =
        (0..rows.num_columns()).filter(|i| rows.schema_ref().field(*i).name() != VECTOR).collect();
    Ok((bytes, Some(rows.project(&others)?)))
}

/// Whether there are columns beside those that every output has.
pub(crate) fn has_others(schema: &Schema) -> bool {
    const OWN: [&str; 4] = ["index", VECTOR, "tokens", "truncated"];
    schema.fields().iter().any(|field| !OWN.contains(&field.name().as_str()))
}
