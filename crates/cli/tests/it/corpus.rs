//! Jobs on corpora: what goes in comes out beside its vector, whatever the formats.

use crate::binary::{fails, run_with_input, stderr, stdout, taskvec};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use taskvec_testing::fixture;
use tempfile::TempDir;

/// `taskvec embed` with a tiny model on the CPU.
pub fn embed(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = taskvec(folder);
    command.arg("embed").arg("--model").arg(fixture("bert-e5")).args(["--device", "cpu"]).args(arguments);
    command.output().unwrap()
}

#[track_caller]
pub fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

/// All rows of a Parquet file.
pub fn parquet_rows(path: &Path) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    arrow_select::concat::concat_batches(&schema, &batches).unwrap()
}

/// The vectors of a Parquet file's rows; of a row without one `None`.
pub fn vectors(rows: &RecordBatch) -> Vec<Option<Vec<f32>>> {
    let lists = rows.column_by_name("embedding").unwrap().as_fixed_size_list();
    let vector = |i: usize| lists.value(i).as_primitive::<Float32Type>().values().to_vec();
    (0..lists.len()).map(|i| lists.is_valid(i).then(|| vector(i))).collect()
}

fn strings(rows: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = rows.column_by_name(name).unwrap_or_else(|| panic!("no {name} in {:?}", rows.schema()));
    let column = arrow_cast::cast(column, &DataType::Utf8).unwrap();
    column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

const IDS: [&str; 4] = ["007", "b", "ü", ""];
const TEXTS: [&str; 4] = ["one two", "„Käse“, 日本語 🙂\n\"second\" line", "", "one two"];

/// The table of these in a format, and whether its columns have types.
fn table(format: &str) -> Vec<u8> {
    let batch = || {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
            Some(vec![Some(1), Some(2)]),
            None,
            Some(vec![]),
            Some(vec![None]),
        ]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(StringArray::from(IDS.to_vec()))),
            ("text", Arc::new(StringArray::from(TEXTS.to_vec()))),
            ("count", Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)]))),
            ("list", Arc::new(list)),
        ];
        let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect()).unwrap()
    };
    let mut bytes = Vec::new();
    match format {
        "jsonl" => {
            let (counts, lists) = (
                [json!(1), json!(null), json!(3), json!(4)],
                [json!([1, 2]), json!(null), json!([]), json!([null])],
            );
            for i in 0..4 {
                let row = json!({"id": IDS[i], "text": TEXTS[i], "count": counts[i], "list": lists[i]});
                writeln!(bytes, "{row}").unwrap();
            }
        }
        "csv" | "tsv" => {
            let delimiter = if format == "csv" { ',' } else { '\t' };
            let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            writeln!(bytes, "id{delimiter}text{delimiter}count").unwrap();
            for (i, count) in ["1", "", "3", "4"].iter().enumerate() {
                writeln!(bytes, "{}{delimiter}{}{delimiter}{count}", quoted(IDS[i]), quoted(TEXTS[i]))
                    .unwrap();
            }
        }
        "parquet" => {
            let mut writer = ArrowWriter::try_new(&mut bytes, batch().schema(), None).unwrap();
            writer.write(&batch()).unwrap();
            writer.close().unwrap();
        }
        "arrow" => {
            let mut writer = arrow_ipc::writer::FileWriter::try_new(&mut bytes, &batch().schema()).unwrap();
            writer.write(&batch()).unwrap();
            writer.finish().unwrap();
        }
        "arrows" => {
            let mut writer = arrow_ipc::writer::StreamWriter::try_new(&mut bytes, &batch().schema()).unwrap();
            writer.write(&batch()).unwrap();
            writer.finish().unwrap();
        }
        other => panic!("{other}"),
    }
    bytes
}

fn packed(bytes: &[u8], packing: &str) -> Vec<u8> {
    match packing {
        "" => bytes.to_vec(),
        ".gz" => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(bytes).unwrap();
            packer.finish().unwrap()
        }
        ".zst" => zstd::encode_all(bytes, 1).unwrap(),
        other => panic!("{other}"),
    }
}

/// The vectors that the texts have by themselves.
fn own_vectors(texts: &[&str]) -> Vec<Vec<f32>> {
    let embedder =
        taskvec::Embedder::builder().device(taskvec::Device::Cpu).open(fixture("bert-e5")).unwrap();
    let vectors = embedder.embed_batch(texts, taskvec::EmbedOptions::new()).unwrap();
    vectors.into_iter().map(|vector| vector.value).collect()
}

/// Ids, texts of several lines and scripts, numbers with nulls and nested values come out as they went in.
#[test]
fn every_input_comes_out_in_every_output() {
    let want = own_vectors(&TEXTS);
    for format in ["jsonl", "csv", "tsv", "parquet", "arrow", "arrows"] {
        for packing in ["", ".gz", ".zst"] {
            let folder = TempDir::new().unwrap();
            let input = format!("in.{format}{packing}");
            std::fs::write(folder.path().join(&input), packed(&table(format), packing)).unwrap();
            let base = ["--input", &input, "--text", "text", "--id", "id", "--keep", "all"];
            for output in ["parquet", "arrow", "jsonl", "npy", "safetensors"] {
                let file = format!("out.{output}");
                succeeds(&embed(&folder, &[&base[..], &["--output", &file]].concat()));
                let left: Vec<String> =
                    names(folder.path()).into_iter().filter(|name| name.contains("parts")).collect();
                assert!(left.is_empty(), "{left:?}");
            }
            let rows = parquet_rows(&folder.path().join("out.parquet"));
            let name = format!("{format}{packing}");
            assert_eq!(strings(&rows, "id"), IDS.map(|id| Some(id.to_owned())), "{name}");
            assert_eq!(strings(&rows, "text"), TEXTS.map(|text| Some(text.to_owned())), "{name}");
            let is_typed = !matches!(format, "csv" | "tsv");
            let counts =
                ["1", "", "3", "4"].map(|count| (!count.is_empty() || !is_typed).then(|| count.to_owned()));
            assert_eq!(strings(&rows, "count"), counts, "{name}");
            let count_type = if is_typed { DataType::Int64 } else { DataType::Utf8 };
            assert_eq!(rows.column_by_name("count").unwrap().data_type(), &count_type, "{name}");
            let found: Vec<Vec<f32>> = vectors(&rows).into_iter().map(Option::unwrap).collect();
            assert_eq!(found, want, "{name}");
            if is_typed {
                let list = rows.column_by_name("list").unwrap().as_list::<i32>();
                assert!(list.value_length(0) == 2 && list.is_null(1) && list.value_length(2) == 0, "{name}");
            }
            check_others(folder.path(), &rows, &name);
        }
    }
}

/// The other outputs hold what the Parquet file does.
fn check_others(folder: &Path, rows: &RecordBatch, name: &str) {
    let of_arrow =
        arrow_ipc::reader::FileReader::try_new(File::open(folder.join("out.arrow")).unwrap(), None).unwrap();
    let of_arrow: Vec<RecordBatch> = of_arrow.map(Result::unwrap).collect();
    assert_eq!(of_arrow[0].columns(), rows.columns(), "{name}");
    let want: Vec<Vec<f32>> = vectors(rows).into_iter().map(Option::unwrap).collect();
    let lines = std::fs::read_to_string(folder.join("out.jsonl")).unwrap();
    for (i, line) in lines.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["index"], &line["id"], &line["text"]),
            (&json!(i), &json!(IDS[i]), &json!(TEXTS[i])),
            "{name}"
        );
        let vector = line["embedding"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32);
        assert!(vector.eq(want[i].iter().copied()), "{name}");
    }
    assert_eq!(lines.lines().count(), 4, "{name}");
    let bytes: Vec<u8> = want.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    for file in ["out.npy", "out.safetensors"] {
        assert!(std::fs::read(folder.join(file)).unwrap().ends_with(&bytes), "{name} {file}");
    }
    let beside = std::fs::read_to_string(folder.join("out.rows.jsonl")).unwrap();
    let ids = beside.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone());
    assert!(ids.eq(IDS.map(Value::from)), "{name}");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn no_rows_and_one_row_and_a_row_of_a_megabyte() {
    let long = "word ".repeat(200_000);
    for (texts, rows) in [("", 0), ("one\n", 1), (&*format!("{long}\nshort\n"), 2)] {
        for output in ["v.parquet", "v.arrow", "v.jsonl", "v.npy", "v.safetensors"] {
            let folder = TempDir::new().unwrap();
            std::fs::write(folder.path().join("in.txt"), texts).unwrap();
            let done = embed(&folder, &["--input", "in.txt", "--keep", "text", "--output", output]);
            succeeds(&done);
            assert_eq!(stderr(&done).contains("no rows"), rows == 0, "{}", stderr(&done));
            assert_eq!(stderr(&done).contains("1 text was cut"), rows == 2, "{}", stderr(&done));
            let path = folder.path().join(output);
            match output {
                "v.parquet" => assert_eq!(parquet_rows(&path).num_rows(), rows),
                "v.jsonl" => assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), rows),
                "v.npy" => {
                    let head = String::from_utf8_lossy(&std::fs::read(path).unwrap()[..128]).into_owned();
                    assert!(head.contains(&format!("({rows}, 48)")), "{head}");
                }
                _ => assert!(path.exists()),
            }
        }
    }
}

#[test]
fn texts_are_made_of_columns_pointers_and_templates() {
    let folder = TempDir::new().unwrap();
    let rows = [
        json!({"t": "Tea", "b": {"en": ["green", "leaves"]}, "n": 5}),
        json!({"t": null, "b": {"en": ["x", "y"]}, "n": 6}),
    ];
    std::fs::write(folder.path().join("in.jsonl"), rows.map(|row| row.to_string()).join("\n")).unwrap();
    for (source, texts) in
        [("/b/en/1", ["leaves", "y"]), (r"{t}: {/b/en/0}\n{n} {{t}}", ["Tea: green\n5 {t}", ": x\n6 {t}"])]
    {
        succeeds(&embed(&folder, &["--input", "in.jsonl", "--text", source, "--output", "v.parquet"]));
        let found = vectors(&parquet_rows(&folder.path().join("v.parquet")));
        assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), own_vectors(&texts), "{source}");
    }
    let missing =
        embed(&folder, &["--input", "in.jsonl", "--text", "body", "--output", "v.parquet", "--restart"]);
    fails(&missing, 1, &["in.jsonl, line 1", "`body`", "--text"]);
    std::fs::write(folder.path().join("in.csv"), "a,b\n1,2\n").unwrap();
    fails(&embed(&folder, &["--input", "in.csv", "--output", "w.parquet"]), 2, &["in.csv", "--text", "a, b"]);
    fails(
        &embed(&folder, &["--input", "in.csv", "--text", "c", "--output", "w.parquet"]),
        1,
        &["`c`", "a, b"],
    );
    assert!(!folder.path().join("w.parquet.parts").exists());
}

/// Queries and documents in one file: each row has the vector of its own task, and says which.
#[test]
fn a_column_says_each_rows_task() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("in.csv"), "text,for\ntea,query\ntea,passage\ntea,query\n").unwrap();
    let base = ["--input", "in.csv", "--text", "text", "--output", "v.parquet"];
    succeeds(&embed(&folder, &[&base[..], &["--task-column", "for"]].concat()));
    let rows = parquet_rows(&folder.path().join("v.parquet"));
    let found = vectors(&rows);
    assert!(found[0] == found[2] && found[0] != found[1]);
    let fingerprints = strings(&rows, "fingerprint");
    assert!(
        fingerprints[0].as_ref().unwrap().ends_with('q') && fingerprints[1].as_ref().unwrap().ends_with('d')
    );
    std::fs::write(folder.path().join("in.csv"), "text,for\ntea,query\ntea,drinking\n").unwrap();
    fails(&embed(&folder, &[&base[..], &["--task-column", "for"]].concat()), 1, &["line 3", "drinking"]);
}

#[test]
fn bad_rows_end_the_job_or_are_left_out_or_have_no_vector() {
    let bad = b"{\"text\": \"fine\"}\n{\"text\": null}\n{\"text\": 5}\nplain\n{\"text\": \"\xff\"}\n{\"text\": \"good\"}\n";
    let long = format!("{{\"text\": \"{}\"}}\n", "word ".repeat(100));
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("in.jsonl"), [&bad[..], long.as_bytes()].concat()).unwrap();
    let base = ["--input", "in.jsonl", "--too-long", "error", "--output", "v.parquet"];
    fails(&embed(&folder, &base), 1, &["in.jsonl, line 2", "null", "--on-error skip"]);
    assert_eq!(names(folder.path()), ["in.jsonl"], "nothing was computed, so nothing is kept");
    let want = own_vectors(&["fine", "good"]);
    let with = |what: &str| {
        let done = embed(&folder, &[&base[..], &["--on-error", what, "--restart"]].concat());
        succeeds(&done);
        assert!(stderr(&done).contains("5 rows have no vector"), "{}", stderr(&done));
        parquet_rows(&folder.path().join("v.parquet"))
    };
    let skipped = with("skip");
    assert_eq!(vectors(&skipped), [Some(want[0].clone()), Some(want[1].clone())]);
    assert_eq!(strings(&skipped, "index"), [Some("0".to_owned()), Some("5".to_owned())]);
    let null = with("null");
    let places: Vec<bool> = vectors(&null).iter().map(Option::is_some).collect();
    assert_eq!(places, [true, false, false, false, false, true, false]);
    let rejects = std::fs::read_to_string(folder.path().join("v.parquet.rejects.jsonl")).unwrap();
    let rejects: Vec<Value> = rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let places: Vec<&str> = rejects.iter().map(|reject| reject["place"].as_str().unwrap()).collect();
    assert_eq!(places, [2, 3, 4, 5, 7].map(|line| format!("in.jsonl, line {line}")));
    for (reject, word) in rejects.iter().zip(["null", "5, expected a string", "JSON", "UTF-8", "tokens"]) {
        assert!(reject["problem"].as_str().unwrap().contains(word), "{reject}");
    }
    let array = ["--input", "in.jsonl", "--on-error", "null", "--output", "v.npy"];
    fails(&embed(&folder, &array), 2, &["npy", "without a vector"]);
}

/// Folders, patterns and several files are one corpus, in order; standard input is one too.
#[test]
fn inputs_are_files_folders_patterns_and_standard_input() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    for (name, text) in [
        ("in/b.csv", "text\nthree\n"),
        ("in/a.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n"),
        ("in/.hidden.csv", "text\nno\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let want: Vec<Option<Vec<f32>>> = own_vectors(&["one", "two", "three"]).into_iter().map(Some).collect();
    for inputs in [&["in"][..], &["in/*"], &["in/a.jsonl", "in/b.csv"], &["in/a*", "in"]] {
        succeeds(&embed(&folder, &[&["--output", "v.parquet", "--input"], inputs].concat()));
        assert_eq!(vectors(&parquet_rows(&folder.path().join("v.parquet"))), want, "{inputs:?}");
    }
    fails(
        &embed(&folder, &["--output", "v.parquet", "--input", "nothing/*.csv"]),
        1,
        &["nothing/*.csv", "no file"],
    );
    let model = fixture("bert-e5");
    let out = folder.path().join("stdin.parquet");
    for (format, text) in [("lines", "one\ntwo\nthree\n"), ("csv", "id,text\n1,one\n2,two\n3,three\n")] {
        let arguments = [
            "embed",
            "--device",
            "cpu",
            "--input",
            "-",
            "--input-format",
            format,
            "--text",
            "text",
            "--keep",
            "all",
            "--model",
        ];
        let arguments =
            [&arguments[..], &[model.to_str().unwrap(), "--output", out.to_str().unwrap()]].concat();
        succeeds(&run_with_input(&arguments, text.as_bytes()));
        assert_eq!(vectors(&parquet_rows(&out)), want, "{format}");
    }
}

/// A row for each piece, with its place in the text; pieces begin with the end of the one before if that is asked for.
#[test]
fn texts_are_cut_into_pieces() {
    let folder = TempDir::new().unwrap();
    let text =
        "Tea is made of leaves. Ünder the hill lives a cat. It sleeps all day. Nobody wakes it up at night.";
    std::fs::write(
        folder.path().join("in.jsonl"),
        json!({"text": text, "id": "a"}).to_string() + "\n{\"text\": \"\", \"id\": \"b\"}\n",
    )
    .unwrap();
    for overlap in [0, 6] {
        let overlap_text = overlap.to_string();
        let arguments = [
            "--input",
            "in.jsonl",
            "--id",
            "id",
            "--chunk",
            "16",
            "--overlap",
            &overlap_text,
            "--output",
            "v.parquet",
        ];
        succeeds(&embed(&folder, &arguments));
        let rows = parquet_rows(&folder.path().join("v.parquet"));
        let number =
            |name: &str, row: usize| strings(&rows, name)[row].as_ref().unwrap().parse::<usize>().unwrap();
        let count = rows.num_rows();
        assert!(count > 3, "{count}");
        let pieces: Vec<String> = (0..count)
            .map(|row| {
                text.chars()
                    .skip(number("start", row))
                    .take(number("end", row) - number("start", row))
                    .collect()
            })
            .collect();
        let own: Vec<&str> = pieces[..count - 1].iter().map(String::as_str).chain([""]).collect();
        assert_eq!(vectors(&rows), own_vectors(&own).into_iter().map(Some).collect::<Vec<_>>());
        assert_eq!(strings(&rows, "id").last().unwrap().as_deref(), Some("b"));
        let overlaps = (1..count - 1).filter(|&row| number("start", row) < number("end", row - 1)).count();
        assert_eq!(overlaps > 0, overlap > 0, "{pieces:?}");
        assert!(
            (1..count - 1)
                .all(|row| number("piece", row) == row && number("start", row) <= number("end", row - 1))
        );
    }
}

/// A prediction reads everything and writes nothing.
#[test]
fn a_dry_run_predicts_tokens() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("in.txt"), "one two three\n".repeat(3000)).unwrap();
    let output = embed(&folder, &["--input", "in.txt", "--output", "v.parquet", "--dry-run"]);
    succeeds(&output);
    let said = stdout(&output);
    assert!(said.contains("rows          3000") && said.contains("f32"), "{said}");
    assert_eq!(names(folder.path()), ["in.txt"]);
}

/// Vectors of every type come out as the library makes them.
#[test]
fn every_type_of_values_is_a_column() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("in.txt"), "one\ntwo\nthree\nfour five\n").unwrap();
    for (kind, width, data_type) in [
        ("f32", 48, DataType::Float32),
        ("f16", 48, DataType::Float16),
        ("int8", 48, DataType::Int8),
        ("uint8", 48, DataType::UInt8),
        ("binary", 6, DataType::Int8),
        ("ubinary", 6, DataType::UInt8),
    ] {
        let mut arguments = vec!["--input", "in.txt", "--type", kind, "--output"];
        if kind.ends_with("int8") {
            arguments.splice(0..0, ["--calibrate", "in.txt"]);
        }
        succeeds(&embed(&folder, &[&arguments[..], &["v.parquet"]].concat()));
        succeeds(&embed(&folder, &[&arguments[..], &["v.npy"]].concat()));
        let rows = parquet_rows(&folder.path().join("v.parquet"));
        let lists = rows.column_by_name("embedding").unwrap().as_fixed_size_list();
        assert_eq!((lists.value_length(), lists.value_type()), (width, data_type), "{kind}");
        let data = lists.values().to_data();
        let npy = std::fs::read(folder.path().join("v.npy")).unwrap();
        let values = &data.buffers()[0].as_slice()[..npy.len() - 128];
        assert_eq!(values, &npy[128..], "{kind}");
    }
}

/// In JSON a vector may be the base64 of its bytes, also where the ending says that it is JSON.
#[test]
fn vectors_in_json_may_be_base64() {
    use base64::Engine;
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("in.txt"), "one\ntwo\n").unwrap();
    succeeds(&embed(&folder, &["--input", "in.txt", "--base64", "--output", "v.jsonl"]));
    let lines = std::fs::read_to_string(folder.path().join("v.jsonl")).unwrap();
    let vector = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let bytes = base64::prelude::BASE64_STANDARD.decode(line["embedding"].as_str().unwrap()).unwrap();
        bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>()
    };
    assert_eq!(lines.lines().map(vector).collect::<Vec<_>>(), own_vectors(&["one", "two"]));
    fails(&embed(&folder, &["--input", "in.txt", "--base64", "--output", "v.parquet"]), 2, &["--base64"]);
    fails(
        &embed(&folder, &["--input", "in.txt", "--output", "none/v.parquet"]),
        1,
        &["none/v.parquet", "cannot write"],
    );
    assert_eq!(names(folder.path()).len(), 2, "{:?}", names(folder.path()));
}

#[test]
fn arguments_of_jobs_need_a_job() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("in.txt"), "one\n").unwrap();
    fails(&embed(&folder, &["one", "--keep", "all"]), 2, &["--keep", "--input", "--output"]);
    fails(&embed(&folder, &["--input", "in.txt", "--shard", "0/2", "--format", "json"]), 2, &["--shard"]);
    fails(&embed(&folder, &["--input", "in.txt", "--shard", "2/2", "--output", "out/"]), 2, &["I/N"]);
    fails(&embed(&folder, &["--input", "in.txt", "--shard", "0/2", "--output", "v.parquet"]), 2, &["folder"]);
    fails(
        &embed(&folder, &["--input", "in.txt", "--output", "out/", "--format", "npy"]),
        2,
        &["npy", "file"],
    );
    fails(
        &embed(&folder, &["--input", "in.txt", "--chunk", "4", "--overlap", "4", "--output", "v.parquet"]),
        2,
        &["overlap"],
    );
    std::fs::write(folder.path().join("in.csv"), "text,embedding\na,b\n").unwrap();
    fails(
        &embed(&folder, &["--input", "in.csv", "--text", "text", "--keep", "all", "--output", "v.parquet"]),
        2,
        &["`embedding`", "--keep"],
    );
}
