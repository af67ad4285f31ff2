//! Stored vectors, in blocks, where they lie in the mapped file.
//!
//! Parquet keeps floats that are neither packed nor encoded as they are, one after the other, in pages: these are read in
//! place. What is stored otherwise (8-bit values, which Parquet has in dictionaries, and columns with rows that have no
//! vector) is decoded by the Parquet crate. Arrow's buffers are read in place whatever they hold.

use super::layout::Layout;
use crate::error::{CorpusError, Result};
use crate::output::record::VECTOR;
use arrow_array::cast::AsArray;
use arrow_array::{Array, FixedSizeListArray, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::root_as_footer;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::serialized_reader::SerializedPageReader;
use std::path::Path;
use std::sync::Arc;
use taskvec::OutputType;

/// Bytes of vectors that are compared together: they stay in the first cache.
const BLOCK_BYTES: usize = 32 << 10;

/// Rows that are decoded together.
const DECODED_ROWS: usize = 1024;

/// Some vectors, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values<'v> {
    F32(&'v [f32]),
    /// f32 that do not lie where they may: their bytes.
    Unaligned(&'v [[u8; 4]]),
    /// Their bits.
    F16(&'v [u16]),
    /// Signed steps of 8 bits, or packed bits.
    Bytes(&'v [i8]),
}

impl Values<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::Unaligned(values) => values.len(),
            Values::F16(values) => values.len(),
            Values::Bytes(values) => values.len(),
        }
    }
}

/// Where a file's vectors come from.
#[derive(Debug)]
pub(super) enum Source {
    Parquet(ParquetVectors),
    Arrow(ArrowVectors),
}

/// The row groups of a Parquet file.
#[derive(Debug)]
pub(super) struct ParquetVectors {
    pub(super) bytes: Bytes,
    metadata: Arc<ParquetMetaData>,
    /// The place of the dense vectors' values among all columns of values, if there are any.
    leaf: Option<usize>,
    /// The first row of each group, and the end of the last.
    starts: Vec<u64>,
    /// Whether values lie as they are.
    in_place: bool,
}

/// The batches of an Arrow file.
#[derive(Debug)]
pub(super) struct ArrowVectors {
    pub(super) batches: Vec<RecordBatch>,
    starts: Vec<u64>,
}

impl ParquetVectors {
    pub(super) fn open(path: &Path, bytes: Bytes) -> Result<(Source, SchemaRef)> {
        let failed = |e| CorpusError::file(path, format!("it is not read as Parquet: {e}"));
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).map_err(failed)?;
        let (metadata, schema) = (builder.metadata().clone(), builder.schema().clone());
        let columns = metadata.file_metadata().schema_descr();
        let is_vector =
            |i: &usize| columns.column(*i).path().parts().first().is_some_and(|name| name == VECTOR);
        let leaf = (0..columns.num_columns()).find(is_vector);
        let starts = starts(metadata.row_groups().iter().map(|group| group.num_rows().unsigned_abs()));
        let nullable = schema.field_with_name(VECTOR).is_ok_and(|field| field.is_nullable());
        let is_float = leaf.is_some_and(|leaf| {
            matches!(columns.column(leaf).physical_type(), Type::FLOAT | Type::FIXED_LEN_BYTE_ARRAY)
        });
        let as_they_are = metadata.row_groups().iter().all(|group| {
            let Some(column) = leaf.map(|leaf| group.column(leaf)) else { return false };
            let encodings: Vec<Encoding> = column.encodings().collect();
            column.compression() == Compression::UNCOMPRESSED
                && encodings.iter().all(|encoding| matches!(encoding, Encoding::PLAIN | Encoding::RLE))
        });
        let in_place = is_float && as_they_are && !nullable;
        Ok((Source::Parquet(ParquetVectors { bytes, metadata, leaf, starts, in_place }), schema))
    }

    fn each_page(&self, layout: &Layout, group: usize, take: &mut dyn FnMut(u64, Values<'_>)) -> Result<()> {
        let failed = |e| CorpusError::file(&layout.path, e);
        let Some(leaf) = self.leaf else { return Ok(()) };
        let group_metadata = self.metadata.row_group(group);
        let rows = usize::try_from(group_metadata.num_rows()).unwrap_or(0);
        let mut pages =
            SerializedPageReader::new(Arc::new(self.bytes.clone()), group_metadata.column(leaf), rows, None)
                .map_err(failed)?;
        let mut blocks = Blocks::new(layout, self.starts[group]);
        while let Some(page) = pages.get_next_page().map_err(failed)? {
            let values = values_of(&page).ok_or_else(|| {
                CorpusError::file(&layout.path, "a page of vectors is not as its head says")
            })?;
            blocks.take(values, take);
        }
        match blocks.row == self.starts[group + 1] && blocks.rest.is_empty() {
            true => Ok(()),
            false => Err(CorpusError::file(&layout.path, "a group of rows has not as many vectors as rows")),
        }
    }

    fn each_decoded(
        &self,
        layout: &Layout,
        group: usize,
        take: &mut dyn FnMut(u64, Values<'_>),
    ) -> Result<()> {
        let failed = |e: String| CorpusError::file(&layout.path, e);
        let builder = ParquetRecordBatchReaderBuilder::try_new(self.bytes.clone())
            .map_err(|e| failed(e.to_string()))?;
        let mask = ProjectionMask::leaves(builder.parquet_schema(), self.leaf);
        let reader =
            builder.with_row_groups(vec![group]).with_projection(mask).with_batch_size(DECODED_ROWS).build();
        let mut row = self.starts[group];
        for batch in reader.map_err(|e| failed(e.to_string()))? {
            let batch = batch.map_err(|e| failed(e.to_string()))?;
            each_valid(layout, batch.column(0).as_fixed_size_list(), row, take);
            row += batch.num_rows() as u64;
        }
        Ok(())
    }
}

impl ArrowVectors {
    pub(super) fn open(path: &Path, bytes: Bytes) -> Result<(Source, SchemaRef)> {
        let (batches, schema) = ArrowVectors::read(Buffer::from(bytes))
            .map_err(|e| CorpusError::file(path, format!("it is not read as Arrow: {e}")))?;
        let starts = starts(batches.iter().map(|batch| batch.num_rows() as u64));
        Ok((Source::Arrow(ArrowVectors { batches, starts }), schema))
    }

    /// The batches, whose buffers lie in the file.
    fn read(bytes: Buffer) -> Result<(Vec<RecordBatch>, SchemaRef), Box<dyn std::error::Error>> {
        let end = bytes.len().checked_sub(10).ok_or("it ends too early")?;
        let length = read_footer_length(bytes[end..].try_into()?)?;
        let footer = root_as_footer(&bytes[end.checked_sub(length).ok_or("its footer is too long")?..end])
            .map_err(|e| e.to_string())?;
        let schema = Arc::new(try_fb_to_schema(footer.schema().ok_or("it has no schema")?)?);
        let mut decoder = FileDecoder::new(schema.clone(), footer.version());
        let part = |block: &arrow_ipc::Block| {
            let length = usize::try_from(block.bodyLength())
                .ok()?
                .checked_add(block.metaDataLength().try_into().ok()?)?;
            let start = usize::try_from(block.offset()).ok()?;
            (start.checked_add(length)? <= end).then(|| bytes.slice_with_length(start, length))
        };
        for block in footer.dictionaries().iter().flatten() {
            decoder.read_dictionary(block, &part(block).ok_or("a dictionary lies outside of it")?)?;
        }
        let mut batches = Vec::new();
        for block in footer.recordBatches().iter().flatten() {
            batches
                .extend(decoder.read_record_batch(block, &part(block).ok_or("a batch lies outside of it")?)?);
        }
        Ok((batches, schema))
    }
}

impl Source {
    pub(super) fn rows(&self) -> u64 {
        self.starts().last().copied().unwrap_or(0)
    }

    pub(super) fn starts(&self) -> &[u64] {
        match self {
            Source::Parquet(file) => &file.starts,
            Source::Arrow(file) => &file.starts,
        }
    }

    pub(super) fn groups(&self) -> usize {
        self.starts().len() - 1
    }

    /// The group that a row is in.
    pub(super) fn group_of(&self, row: u64) -> usize {
        self.starts().partition_point(|start| *start <= row).saturating_sub(1)
    }

    pub(super) fn each_block(
        &self,
        layout: &Layout,
        group: usize,
        take: &mut dyn FnMut(u64, Values<'_>),
    ) -> Result<()> {
        match self {
            Source::Parquet(source) if source.in_place => source.each_page(layout, group, take),
            Source::Parquet(source) => source.each_decoded(layout, group, take),
            Source::Arrow(source) => {
                let vectors =
                    source.batches[group].column_by_name(VECTOR).and_then(|c| c.as_fixed_size_list_opt());
                let vectors =
                    vectors.ok_or_else(|| CorpusError::file(&layout.path, "a batch has no vectors"))?;
                each_valid(layout, vectors, source.starts[group], take);
                Ok(())
            }
        }
    }
}

/// The first row of each of groups of so many, and the end of the last.
fn starts(rows: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut starts = vec![0];
    for rows in rows {
        starts.push(starts[starts.len() - 1] + rows);
    }
    starts
}

/// The values of a page without nulls; `None` if it is damaged.
fn values_of(page: &Page) -> Option<&[u8]> {
    match page {
        // Repetition and definition levels, each behind its length.
        Page::DataPage { buf, .. } => {
            let mut bytes = &buf[..];
            for _ in 0..2 {
                let (length, rest) = bytes.split_first_chunk::<4>()?;
                bytes = rest.get(u32::from_le_bytes(*length) as usize..)?;
            }
            Some(bytes)
        }
        Page::DataPageV2 { buf, rep_levels_byte_len, def_levels_byte_len, .. } => {
            buf.get((rep_levels_byte_len + def_levels_byte_len) as usize..)
        }
        Page::DictionaryPage { .. } => Some(&[]),
    }
}

/// Hands on the vectors of rows that have one.
fn each_valid(
    layout: &Layout,
    vectors: &FixedSizeListArray,
    row: u64,
    take: &mut dyn FnMut(u64, Values<'_>),
) {
    let data = vectors.values().to_data();
    let size = layout.output_type.value_bytes();
    let bytes = &data.buffers()[0].as_slice()[data.offset() * size..][..data.len() * size];
    let row_bytes = layout.width * size;
    let mut start = 0;
    // Runs of rows with vectors; all, mostly.
    while start < vectors.len() {
        let is_valid = |i: &usize| vectors.is_valid(*i);
        let end = (start..vectors.len()).find(|i| !is_valid(i)).unwrap_or(vectors.len());
        let mut blocks = Blocks::new(layout, row + start as u64);
        blocks.take(&bytes[start * row_bytes..end * row_bytes], take);
        start = (end..vectors.len()).find(is_valid).unwrap_or(vectors.len());
    }
}

/// Cuts bytes into blocks of whole vectors.
struct Blocks {
    output_type: OutputType,
    row_bytes: usize,
    /// The row that comes next.
    row: u64,
    /// The start of a vector that goes on in what comes next.
    rest: Vec<u8>,
    /// Values that lie where numbers of their size may not, or that are changed: copied.
    halves: Vec<u16>,
    steps: Vec<i8>,
}

impl Blocks {
    fn new(layout: &Layout, row: u64) -> Blocks {
        let row_bytes = layout.row_bytes();
        let (rest, halves, steps) = (Vec::new(), Vec::new(), Vec::new());
        Blocks { output_type: layout.output_type, row_bytes, row, rest, halves, steps }
    }

    fn take(&mut self, mut bytes: &[u8], take: &mut dyn FnMut(u64, Values<'_>)) {
        if !self.rest.is_empty() {
            let (more, others) = bytes.split_at((self.row_bytes - self.rest.len()).min(bytes.len()));
            self.rest.extend(more);
            bytes = others;
            if self.rest.len() == self.row_bytes {
                let whole = std::mem::take(&mut self.rest);
                self.block(&whole, take);
            }
        }
        let whole = bytes.len() / self.row_bytes * self.row_bytes;
        let at_once = (BLOCK_BYTES / self.row_bytes).max(1) * self.row_bytes;
        bytes[..whole].chunks(at_once).for_each(|block| self.block(block, take));
        self.rest.extend(&bytes[whole..]);
    }

    fn block(&mut self, bytes: &[u8], take: &mut dyn FnMut(u64, Values<'_>)) {
        let row = self.row;
        self.row += (bytes.len() / self.row_bytes) as u64;
        match self.output_type {
            OutputType::F16 => take(row, Values::F16(aligned_halves(bytes, &mut self.halves))),
            OutputType::Int8 | OutputType::Ubinary => take(row, Values::Bytes(bytemuck::cast_slice(bytes))),
            // Steps from 0 become signed ones; signed bits those that they are.
            OutputType::Uint8 | OutputType::Binary => {
                self.steps.clear();
                self.steps.extend(bytes.iter().map(|byte| (byte ^ 0x80).cast_signed()));
                take(row, Values::Bytes(&self.steps));
            }
            _ => match bytemuck::try_cast_slice(bytes) {
                Ok(values) => take(row, Values::F32(values)),
                Err(_) => take(row, Values::Unaligned(bytemuck::cast_slice(bytes))),
            },
        }
    }
}

/// The halves that bytes are; copied if they do not lie where such numbers may.
fn aligned_halves<'b>(bytes: &'b [u8], copy: &'b mut Vec<u16>) -> &'b [u16] {
    match bytemuck::try_cast_slice(bytes) {
        Ok(values) => values,
        Err(_) => {
            copy.resize(bytes.len() / 2, 0);
            bytemuck::cast_slice_mut(copy).copy_from_slice(bytes);
            copy
        }
    }
}
