"""Each framework itself, with queries and documents that have their tasks."""

import asyncio

import numpy as np
import pytest

from taskvec import Embedder

DOCUMENTS = ["tea is made of leaves", "a cat by the river", "stones on a hill"]
QUERY = "where is the cat?"


@pytest.fixture
def vectors(fixture):
    """What the documents and the query have to come to."""
    embedder = Embedder(fixture("bert-e5"), device="cpu")
    documents, query = embedder.encode_document(DOCUMENTS), embedder.encode_query(QUERY)
    assert not np.allclose(query, embedder.encode_document(QUERY)), "the tasks make a difference"
    return documents, query


def test_langchain(fixture, vectors):
    pytest.importorskip("langchain_core")
    from langchain_core.vectorstores import InMemoryVectorStore
    from taskvec.integrations.langchain import TaskvecEmbeddings

    embeddings = TaskvecEmbeddings(fixture("bert-e5"), device="cpu")
    assert np.allclose(embeddings.embed_documents(DOCUMENTS), vectors[0], atol=1e-7)
    assert np.allclose(embeddings.embed_query(QUERY), vectors[1], atol=1e-7)
    assert np.allclose(asyncio.run(embeddings.aembed_query(QUERY)), vectors[1], atol=1e-7)
    store = InMemoryVectorStore(embeddings)
    store.add_texts(DOCUMENTS)
    found = store.similarity_search_with_score(QUERY, k=3)
    scores = vectors[0] @ vectors[1]
    assert [document.page_content for document, _ in found] == [DOCUMENTS[i] for i in np.argsort(-scores)]
    assert np.allclose([score for _, score in found], np.sort(scores)[::-1], atol=1e-5)


def test_llama_index(fixture, vectors):
    pytest.importorskip("llama_index.core")
    from taskvec.integrations.llama_index import TaskvecEmbedding

    embedding = TaskvecEmbedding(fixture("bert-e5"), open_options={"device": "cpu"})
    assert np.allclose(embedding.get_text_embedding_batch(DOCUMENTS), vectors[0], atol=1e-7)
    assert np.allclose(embedding.get_text_embedding(DOCUMENTS[1]), vectors[0][1], atol=1e-7)
    assert np.allclose(embedding.get_query_embedding(QUERY), vectors[1], atol=1e-7)
    assert np.allclose(asyncio.run(embedding.aget_query_embedding(QUERY)), vectors[1], atol=1e-7)
    again = TaskvecEmbedding.from_dict(embedding.to_dict())
    assert np.allclose(again.get_query_embedding(QUERY), vectors[1], atol=1e-7)


def test_chroma(fixture, vectors, tmp_path):
    chromadb = pytest.importorskip("chromadb")
    from taskvec.integrations.chroma import TaskvecEmbeddingFunction

    function = TaskvecEmbeddingFunction(fixture("bert-e5"), device="cpu")
    client = chromadb.PersistentClient(str(tmp_path))
    client.create_collection("texts", embedding_function=function).add(ids=["0", "1", "2"], documents=DOCUMENTS)
    # Another client makes the function from what the collection keeps.
    texts = chromadb.PersistentClient(str(tmp_path)).get_collection("texts")
    stored = texts.get(ids=["0", "1", "2"], include=["embeddings"])["embeddings"]
    assert np.allclose(stored, vectors[0], atol=1e-6)
    found = texts.query(query_texts=[QUERY], n_results=3)
    distances = 1 - vectors[0] @ vectors[1]
    assert found["ids"][0] == [str(i) for i in np.argsort(distances)]
    assert np.allclose(found["distances"][0], np.sort(distances), atol=1e-5)
    with pytest.raises(ValueError, match="query_task"):
        function.validate_config_update(function.get_config(), {**function.get_config(), "query_task": "clustering"})


def test_haystack(fixture, vectors):
    pytest.importorskip("haystack")
    from haystack import Document, Pipeline
    from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from taskvec.integrations.haystack import TaskvecDocumentEmbedder, TaskvecTextEmbedder

    store = InMemoryDocumentStore(embedding_similarity_function="dot_product")
    documents = TaskvecDocumentEmbedder(fixture("bert-e5"), device="cpu").run([Document(content=t) for t in DOCUMENTS])
    assert np.allclose([document.embedding for document in documents["documents"]], vectors[0], atol=1e-7)
    store.write_documents(documents["documents"])
    pipeline = Pipeline()
    pipeline.add_component("embedder", TaskvecTextEmbedder(fixture("bert-e5"), device="cpu"))
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, scale_score=False))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    found = pipeline.run({"embedder": {"text": QUERY}})["retriever"]["documents"]
    scores = vectors[0] @ vectors[1]
    assert [document.content for document in found] == [DOCUMENTS[i] for i in np.argsort(-scores)]
    assert np.allclose([document.score for document in found], np.sort(scores)[::-1], atol=1e-5)
    stored = TaskvecTextEmbedder.from_dict(pipeline.get_component("embedder").to_dict())
    assert np.allclose(stored.run(QUERY)["embedding"], vectors[1], atol=1e-7)


def test_daft(fixture, tmp_path):
    daft = pytest.importorskip("daft")
    from daft.functions import embed_text
    from taskvec.integrations.daft import provider

    texts = [None if i % 97 == 5 else f"text {i} {'and more ' * (i % 7)}" for i in range(10_000)]
    daft.from_pydict({"id": list(range(10_000)), "text": texts}).write_parquet(str(tmp_path / "in"))
    frame = daft.read_parquet(str(tmp_path / "in"))
    vector = embed_text(
        frame["text"], provider=provider(device="cpu"), model=fixture("bert-e5"), task="retrieval-document"
    )
    frame.with_column("embedding", vector).write_parquet(str(tmp_path / "out"))
    rows = daft.read_parquet(str(tmp_path / "out")).sort("id").to_pydict()
    assert rows["id"] == list(range(10_000)), "all rows, each once"
    embedder = Embedder(fixture("bert-e5"), device="cpu")
    want = iter(embedder.encode_document([text for text in texts if text is not None]))
    for text, found in zip(texts, rows["embedding"]):
        assert (found is None) if text is None else (np.array(found, np.float32) == next(want)).all()
    smaller = embed_text(frame["text"], provider=provider(device="cpu"), model=fixture("bert-e5"), dimensions=16)
    first = frame.limit(1).select(smaller.alias("v")).to_pydict()["v"][0]
    assert len(first) == 16


def test_ray_data(fixture):
    ray = pytest.importorskip("ray")
    from taskvec.integrations.ray import EmbedBatches

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        texts = [f"text {i}" for i in range(3000)]
        rows = ray.data.from_items([{"id": i, "text": text} for i, text in enumerate(texts)]).repartition(8)
        how = {"model": fixture("bert-e5"), "task": "retrieval-document", "device": "cpu"}
        assert "1 threads" in ray.get(ray.remote(num_cpus=1)(lambda: EmbedBatches(**how).embedder.device).remote())
        embedded = rows.map_batches(EmbedBatches, fn_constructor_kwargs=how, concurrency=1, batch_size=512)
        found = sorted(embedded.take_all(), key=lambda row: row["id"])
    finally:
        ray.shutdown()
    assert [row["id"] for row in found] == list(range(3000)), "all rows, each once"
    want = Embedder(fixture("bert-e5"), device="cpu").encode_document(texts)
    assert (np.stack([row["embedding"] for row in found]) == want).all()
