"""What Python gets is what the engine gives, and what is wrong is told."""

import json
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import taskvec
from taskvec import Embedder, RequestError, Reranker

TEXTS = ["one two", "", "„Käse“, 日本語 🙂", "a longer text, with some more words in it " * 3]


def test_vectors_are_the_references(fixture):
    for name in ["bert-e5", "qwen3-embedding", "t5-gtr", "nomic-bert"]:
        embedder = Embedder(fixture(name), device="cpu")
        expected = json.loads((pathlib.Path(fixture(name)) / "expected.json").read_text())
        for case in expected["cases"]:
            options = {"prompt_name": case["prompt_name"]} if case["prompt_name"] else {"prompt": case["prompt"]}
            vectors = embedder.encode(expected["texts"], **options)
            assert np.abs(vectors - np.array(case["embeddings"])).max() < 2e-5, (name, options)


def test_each_text_has_its_row(fixture):
    embedder = Embedder(fixture("bert-e5"), device="cpu")
    vectors = embedder.encode(TEXTS, task="clustering")
    assert vectors.shape == (4, embedder.dimensions) and vectors.dtype == np.float32
    for text, vector in zip(TEXTS, vectors):
        assert (embedder.encode(text, task="clustering") == vector).all(), text
    assert embedder.encode([]).shape == (0, embedder.dimensions)
    many = embedder.encode([f"text {i}" for i in range(3000)], show_progress=True)
    assert (many[1234] == embedder.encode("text 1234")).all()


def test_tasks_reach_the_prompt(fixture):
    embedder = Embedder(fixture("bert-e5"), device="cpu")
    query, document = embedder.encode_query("tea"), embedder.encode_document("tea")
    assert (query == embedder.encode("tea", prompt="query: ")).all()
    assert (document == embedder.encode("tea", prompt="passage: ")).all()
    assert not (query == document).all()
    explained = embedder.explain("tea", task="retrieval-query")
    assert explained["assembled"] == "query: tea" and explained["tokens"][0]["pooled"] in (True, False)
    assert len(embedder.tasks()) >= 8
    assert embedder.fingerprint(task="retrieval-query") != embedder.fingerprint(task="retrieval-document")
    embedder.check_comparable(embedder.fingerprint(task="retrieval-query"), embedder.fingerprint(task="retrieval-document"))
    with pytest.raises(RequestError):
        embedder.check_comparable(embedder.fingerprint(), Embedder().fingerprint())


def test_containers_of_texts(fixture):
    embedder = Embedder(fixture("bert-e5"), device="cpu")
    want = embedder.encode(TEXTS)
    containers = [tuple(TEXTS), (text for text in TEXTS), np.array(TEXTS), np.array(TEXTS, dtype=object), dict.fromkeys(TEXTS).keys()]
    for texts in containers:
        assert (embedder.encode(texts) == want).all(), type(texts)
    pyarrow = pytest.importorskip("pyarrow")
    assert (embedder.encode(pyarrow.array(TEXTS)) == want).all()
    arrow = embedder.encode_arrow(pyarrow.array(TEXTS))
    assert (np.stack(arrow.to_numpy(zero_copy_only=False)) == want).all()
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    assert (embedder.encode(pandas.Series(TEXTS)) == want).all()
    assert (embedder.encode(polars.Series(TEXTS)) == want).all()


def test_columns_of_arrow(fixture):
    """Read where they lie, whoever made them, and with what is wrong with them."""
    pyarrow, polars = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    embedder = Embedder(fixture("bert-e5"), device="cpu")
    texts = ["a", "", "größer 日本語 🙂", "and a longer one, so that a view is no copy"]
    want = embedder.encode(texts)
    for kind in [pyarrow.string(), pyarrow.large_string(), pyarrow.string_view()]:
        column = pyarrow.array(texts, kind)
        assert (embedder.encode(column) == want).all(), kind
        assert (embedder.encode(column[1:3]) == want[1:3]).all(), kind
        chunks = pyarrow.chunked_array([column[:1], column[1:1], column[1:]])
        assert (embedder.encode(chunks, titles=pyarrow.array([None] * 4)) == want).all(), kind
        assert embedder.encode(column[:0]).shape == (0, want.shape[1])
        assert embedder.encode(pyarrow.chunked_array([], kind)).shape == (0, want.shape[1])
    assert (embedder.encode(polars.Series(texts)) == want).all()
    assert (embedder.encode(polars.DataFrame({"t": texts})["t"][1:]) == want[1:]).all()
    broken = pyarrow.Array.from_buffers(pyarrow.string(), 1, [None, *pyarrow.array([b"a\xff"]).buffers()[1:]])
    for column, error, words in [
        (pyarrow.array(["a", None]), TypeError, "text 1 is NoneType"),
        (pyarrow.array([None, None]), TypeError, "text 0 is NoneType"),
        (pyarrow.array([1, 2]), TypeError, "Int64.*expected one of strings"),
        (pyarrow.array(["a", "a"]).dictionary_encode(), TypeError, "cast it"),
        (pyarrow.table({"t": ["a"]}), TypeError, "texts are a table"),
        (polars.DataFrame({"t": ["a"]}), TypeError, "texts are a table"),
        (broken, ValueError, "not valid"),
    ]:
        with pytest.raises(error, match=words):
            embedder.encode(column)


@pytest.mark.parametrize(
    "texts, error, words",
    [
        (None, TypeError, "NoneType"),
        (b"bytes", TypeError, "bytes"),
        (7, TypeError, "int"),
        (["a", None], TypeError, "text 1 is NoneType"),
        (["a", b"b"], TypeError, "text 1 is bytes"),
        (["a", 3.5, "c"], TypeError, "text 1 is float"),
        (["a", "b", "\ud800"], ValueError, "text 2"),
        (np.array(["a", 1], dtype=object), TypeError, "text 1 is int"),
        ([["a"]], TypeError, "text 0 is list"),
    ],
)
def test_what_is_no_text_is_told(fixture, texts, error, words):
    embedder = Embedder(fixture("bert-e5"), device="cpu")
    with pytest.raises(error, match=words):
        embedder.encode(texts)


def test_options_that_do_not_fit_are_told(fixture):
    embedder = Embedder(fixture("bert-e5"), device="cpu")
    for options, words in [
        ({"task": "poetry"}, "poetry"),
        ({"prompt_name": "none such"}, "none such"),
        ({"dimensions": 0}, "dimensions"),
        ({"output_type": "int4"}, "int4"),
        ({"output_type": "int8"}, "ranges"),
        ({"too_long": "explode"}, "explode"),
        ({"titles": ["one"]}, "2 texts and 1 titles"),
    ]:
        with pytest.raises(ValueError, match=words):
            embedder.encode(["a", "b"], **options)
    with pytest.raises(RequestError, match="text 1"):
        embedder.encode(["a", "many words " * 4000], too_long="error")
    with pytest.raises(taskvec.ModelError):
        Embedder("/nowhere/at/all")
    with pytest.raises(RequestError, match="toaster"):
        Embedder(device="toaster")
    with pytest.raises(taskvec.ModelError):
        Reranker(fixture("bert-e5"))


def test_large_texts(fixture):
    embedder = Embedder(fixture("bert-e5"), device="cpu")
    large = "word " * 2_000_000
    assert np.isfinite(embedder.encode(large)).all()


def test_types_of_values(fixture):
    embedder = Embedder(fixture("bert-e5"), device="cpu")
    exact = embedder.encode(TEXTS)
    half = embedder.encode(TEXTS, output_type="f16")
    assert half.dtype == np.float16 and (half == exact.astype(np.float16)).all()
    bits = embedder.encode(TEXTS, output_type="ubinary")
    assert (bits == np.packbits(exact > 0, axis=-1)).all()
    ranges = (exact.min(0).tolist(), exact.max(0).tolist())
    steps = embedder.encode(TEXTS, output_type="int8", ranges=ranges)
    assert steps.dtype == np.int8 and steps.shape == exact.shape
    assert embedder.encode(TEXTS, dimensions=16).shape == (4, 16)


def test_sparse_and_token_vectors(fixture):
    scipy = pytest.importorskip("scipy.sparse")
    embedder = Embedder(fixture("bge-m3"), device="cpu")
    sparse = embedder.encode_sparse(TEXTS)
    assert scipy.issparse(sparse) and sparse.shape[0] == 4 and sparse[0].nnz > 0
    query, document = embedder.encode_tokens(TEXTS[0]), embedder.encode_tokens(TEXTS[3])
    assert abs(taskvec.maxsim(query, document) - (query @ document.T).max(1).sum()) < 1e-4
    with pytest.raises(ValueError, match="values"):
        taskvec.maxsim(query, document[:, :-1].copy())


def test_a_reranker_sorts(fixture):
    reranker = Reranker(fixture("reranker-bert"), device="cpu")
    documents = ["one", "two words", "three"]
    scores = reranker.score("tea", documents)
    ranked = reranker.rank("tea", documents, return_documents=True)
    assert [entry["corpus_id"] for entry in ranked] == list(np.argsort(-scores, kind="stable"))
    assert ranked[0]["text"] == documents[ranked[0]["corpus_id"]]
    pairs = [("tea", document) for document in documents] + [("other", "one")]
    assert (reranker.predict(pairs)[:3] == scores).all()
    assert len(reranker.rank("tea", documents, top_k=2)) == 2


def test_threads_share_one(fixture):
    embedder = Embedder(fixture("bert-e5"), device="cpu", threads=1)
    want, found = embedder.encode(TEXTS), []

    def work():
        found.extend((embedder.encode(TEXTS) == want).all() for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(found) == 80 and all(found)


def test_the_lock_is_released():
    embedder = Embedder(device="cpu")
    counted, done = [0], threading.Event()

    def count():
        while not done.is_set():
            counted[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    embedder.encode([f"{i} " + "many words make a long text " * 20 for i in range(400)])
    done.set()
    thread.join()
    assert counted[0] > 20, "the other thread ran meanwhile"


def test_pickled_and_forked_ones_open_again(fixture):
    embedder = Embedder(fixture("bert-e5"), device="cpu", threads=1)
    want = embedder.encode(TEXTS)
    assert (pickle.loads(pickle.dumps(embedder)).encode(TEXTS) == want).all()
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            os._exit(0 if (embedder.encode(TEXTS) == want).all() else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_control_c_ends_a_long_call():
    script = (
        "import taskvec, sys, time\n"
        "embedder = taskvec.Embedder(device='cpu', threads=1)\n"
        "texts = [f'{i} ' + 'many words make a long text ' * 30 for i in range(20000)]\n"
        "print('begun', flush=True)\n"
        "try:\n"
        "    embedder.encode(texts)\n"
        "except KeyboardInterrupt:\n"
        "    print('ended', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    time.sleep(1.5)
    start = time.monotonic()
    process.send_signal(2)
    assert process.stdout.readline() == "ended\n"
    assert time.monotonic() - start < 0.6
    assert process.wait(10) == 0


def test_import_is_fast_and_brings_numpy_alone():
    script = (
        "import numpy, sys, time\n"
        "before, start = set(sys.modules), time.perf_counter()\n"
        "import taskvec\n"
        "taken = time.perf_counter() - start\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(taken, sorted(name for name in new if name not in sys.stdlib_module_names))\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    taken, new = said.split(" ", 1)
    assert new.strip() == "['taskvec']", new
    assert float(taken) < 0.5, taken


def test_the_readmes_lines_run(capsys):
    readme = (pathlib.Path(__file__).resolve().parents[1] / "README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0]
    exec(compile(code, "README.md", "exec"), {})
    assert "How do transformers work?" in capsys.readouterr().out
