#!/usr/bin/env python3
"""Talk to `taskvec serve` with the vendors' own clients, changed in nothing but the base URL, and hold what they read against the
command's vectors.

    python3 tests/clients/talk.py TASKVEC

TASKVEC is the command's binary. The clients come from the Python and npm registries, into the user's cache. Node's are left out where
there is no npm.
"""

import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv

# Clients change their interfaces: these are the versions that it is known to work with.
PACKAGES = [
    "numpy==2.3.5", "openai==3.57.0", "cohere==7.3.1", "voyageai==0.5.0", "google-genai==3.6.1", "mistralai==3.7.0",
    "ollama==0.6.3", "huggingface_hub==2.4.0", "nomic==3.9.0", "httpx",
]
NODE_PACKAGES = [
    "openai@6.49.0", "cohere-ai@8.1.0", "@google/genai@2.32.0", "ollama@0.6.4", "@mistralai/mistralai@2.7.0",
    "@huggingface/inference@4.13.30", "voyageai@0.4.0", "playwright-core@1.64.1",
]
HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parents[1] / "tests" / "fixtures"
TEXTS = ["where is the cat?", "tea is made of leaves", "größer 日本語 🙂", ""]
KEY = "a-key"
LONGEST = 48  # tokens of the model


def cache():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(home)


def with_packages():
    """Starts this script again where the packages are."""
    folder = cache() / "taskvec-test-clients"
    python = folder / "bin" / "python"
    ready = folder / "ready.txt"
    wanted = "\n".join(PACKAGES)
    if not ready.exists() or ready.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        ready.write_text(wanted)
    os.execv(python, [str(python), *sys.argv, "--ready"])


class Served:
    """A server on a port of its own, until the block ends; then it must end well."""

    def __init__(self, binary, *arguments):
        words = [binary, "serve", "--port", "0", "--device", "cpu", *map(str, arguments)]
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "listening on " in line:
                self.url = line.strip().split("listening on ")[1]
                return
        raise AssertionError(f"the server ended with {self.process.wait()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, "the server did not end well"


class Reference:
    """The command's vectors: the same bits are asked of the server."""

    def __init__(self, binary, model):
        self.binary, self.model, self.known = binary, model, {}

    def vectors(self, texts, *options):
        import numpy

        key = (tuple(texts), options)
        if key not in self.known:
            with tempfile.TemporaryDirectory() as folder:
                lines = pathlib.Path(folder) / "texts.jsonl"
                lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
                out = pathlib.Path(folder) / "vectors.npy"
                words = [self.binary, "embed", "--device", "cpu", "--model", self.model, "--input", lines, "--output", out, *options]
                subprocess.run(list(map(str, words)), check=True, capture_output=True)
                self.known[key] = numpy.load(out)
        return self.known[key]


def same(found, want, what):
    import numpy

    found = numpy.array(found, dtype=numpy.float32)
    assert found.shape == want.shape, (what, found.shape, want.shape)
    assert (found == want).all(), (what, numpy.abs(found - want).max())


def fails(call, *errors, words=""):
    """The call must raise one of these, with these words."""
    try:
        call()
    except errors as error:
        assert words in str(error), (words, str(error))
        return error
    raise AssertionError(f"no error, expected {errors}")


def openai_client(url, want, _):
    import numpy
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)
    for form in [openai.NOT_GIVEN, "float", "base64"]:
        answer = client.embeddings.create(model="any", input=TEXTS, encoding_format=form)
        vectors = [one.embedding for one in answer.data]
        if form == "base64":
            vectors = [numpy.frombuffer(base64.b64decode(v), "<f4") if isinstance(v, str) else v for v in vectors]
        same(vectors, want(TEXTS), f"openai {form}")
    assert answer.usage.total_tokens > 8 and answer.model == "any"
    one = client.embeddings.create(model="bert-e5", input=TEXTS[0])
    same([one.data[0].embedding], want(TEXTS[:1]), "openai, one text")
    for task in ["retrieval-query", "search_document"]:
        answer = client.embeddings.create(model="m", input=TEXTS, extra_body={"task": task})
        ours = {"search_document": "retrieval-document"}.get(task, task)
        same([one.embedding for one in answer.data], want(TEXTS, "--task", ours), task)
    answer = client.embeddings.create(model="bert-e5@query", input=TEXTS)
    same([one.embedding for one in answer.data], want(TEXTS, "--task", "retrieval-query"), "a task in the name")
    cut = client.embeddings.create(model="m", input=TEXTS, dimensions=16)
    same([one.embedding for one in cut.data], want(TEXTS, "--dimensions", "16"), "dimensions")
    many = client.embeddings.create(model="m", input=[f"text {i}" for i in range(500)])
    same([one.embedding for one in many.data], want([f"text {i}" for i in range(500)]), "500 texts")
    assert [one.index for one in many.data] == list(range(500))
    assert [model.id for model in client.models.list()][0] == "bert-e5"
    fails(lambda: client.embeddings.create(model="m", input=["word " * 5000]), openai.BadRequestError, words="tokens")
    fails(lambda: client.embeddings.create(model="m", input=["a", None]), openai.BadRequestError, words="input[1] is null")
    fails(lambda: client.embeddings.create(model="m", input=[]), openai.BadRequestError, words="empty")
    fails(lambda: client.embeddings.create(model="m", input=[[1, 2]]), openai.BadRequestError, words="check_embedding_ctx_length")
    fails(lambda: client.embeddings.create(model="m", input="a", dimensions=9999), openai.BadRequestError, words="dimensions")
    fails(lambda: client.embeddings.create(model="m", input="a", extra_body={"task": "poetry"}), openai.BadRequestError, words="poetry")
    wrong = openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0)
    fails(lambda: wrong.embeddings.create(model="m", input="a"), openai.AuthenticationError, words="API key")
    strict = openai.OpenAI(base_url=f"{url}/openai/v1", api_key=KEY)
    same([strict.embeddings.create(model="m", input="a").data[0].embedding], want(["a"]), "openai under its prefix")
    azure = openai.AzureOpenAI(azure_endpoint=url, api_key=KEY, api_version="2024-10-21")
    same([one.embedding for one in azure.embeddings.create(model="bert-e5", input=TEXTS).data], want(TEXTS), "azure")


def cohere_client(url, want, scores):
    import cohere

    client = cohere.ClientV2(api_key=KEY, base_url=url)
    for kind, task in [("search_query", "retrieval-query"), ("search_document", "retrieval-document"), ("clustering", "clustering")]:
        answer = client.embed(model="bert-e5", texts=TEXTS, input_type=kind, embedding_types=["float", "int8", "ubinary"])
        vectors = want(TEXTS, "--task", task)
        same(answer.embeddings.float_, vectors, f"cohere {kind}")
        same(answer.embeddings.int8, (127 * vectors).round().clip(-128, 127), f"cohere {kind} int8")
        assert len(answer.embeddings.ubinary[0]) == vectors.shape[1] // 8
    answer = client.embed(model="bert-e5", texts=TEXTS, input_type="search_query", output_dimension=16)
    same(answer.embeddings.float_, want(TEXTS, "--task", "retrieval-query", "--dimensions", "16"), "cohere dimensions")
    fails(lambda: client.embed(model="m", texts=["word " * 5000], input_type="search_query", truncate="NONE"),
          cohere.errors.BadRequestError, words="tokens")
    client.embed(model="m", texts=["word " * 5000], input_type="search_query")
    older = cohere.Client(api_key=KEY, base_url=url)
    same(older.embed(texts=TEXTS, input_type="search_query", model="bert-e5").embeddings, want(TEXTS, "--task", "retrieval-query"), "cohere v1")
    for rerank in [client.rerank, older.rerank]:
        ranked = rerank(model="reranker-bert", query=TEXTS[0], documents=TEXTS[1:3], top_n=2)
        ours = {one.index: one.relevance_score for one in ranked.results}
        assert all(abs(ours[i] - score) < 1e-6 for i, score in enumerate(scores)), (ours, scores)
    fails(lambda: cohere.ClientV2(api_key="wrong", base_url=url).embed(model="m", texts=["a"], input_type="search_query"),
          cohere.errors.UnauthorizedError, words="API key")


def voyage_client(url, want, scores):
    import voyageai

    client = voyageai.Client(api_key=KEY, base_url=f"{url}/v1")
    for kind, task in [(None, None), ("query", "retrieval-query"), ("document", "retrieval-document")]:
        answer = client.embed(TEXTS, model="bert-e5", input_type=kind)
        same(answer.embeddings, want(TEXTS, *(["--task", task] if task else [])), f"voyage {kind}")
        assert answer.total_tokens > 8
    vectors = want(TEXTS)
    whole = client.embed(TEXTS, model="bert-e5", output_dtype="int8").embeddings
    same(whole, (127 * vectors).round().clip(-128, 127), "voyage int8")
    same(client.embed(TEXTS, model="bert-e5", output_dimension=16).embeddings, want(TEXTS, "--dimensions", "16"), "voyage dimensions")
    ranked = client.rerank(TEXTS[0], TEXTS[1:3], model="reranker-bert").results
    assert all(abs(one.relevance_score - scores[one.index]) < 1e-6 for one in ranked)
    client.embed(["a\ud800"], model="bert-e5")
    fails(lambda: client.embed(["word " * 5000], model="bert-e5", truncation=False), voyageai.error.InvalidRequestError, words="tokens")
    fails(lambda: voyageai.Client(api_key="wrong", base_url=f"{url}/v1").embed(["a"], model="m"), voyageai.error.AuthenticationError)
    pieces = client.contextualized_embed(inputs=[["tea is made", "of leaves"], ["a cat"]], model="bert-e5").results
    assert [len(document.embeddings) for document in pieces] == [2, 1]


def google_client(url, want, _):
    from google import genai
    from google.genai import errors, types

    client = genai.Client(api_key=KEY, http_options={"base_url": url})
    for word, task in [("RETRIEVAL_QUERY", "retrieval-query"), ("RETRIEVAL_DOCUMENT", "retrieval-document"), ("CLUSTERING", "clustering")]:
        answer = client.models.embed_content(model="bert-e5", contents=TEXTS, config=types.EmbedContentConfig(task_type=word))
        same([one.values for one in answer.embeddings], want(TEXTS, "--task", task), f"google {word}")
    config = types.EmbedContentConfig(output_dimensionality=16)
    answer = client.models.embed_content(model="bert-e5", contents=TEXTS, config=config)
    same([one.values for one in answer.embeddings], want(TEXTS, "--dimensions", "16"), "google dimensions")
    assert client.models.count_tokens(model="bert-e5", contents="tea is made").total_tokens >= 3
    assert [model.name for model in client.models.list()][0] == "models/bert-e5"
    bad = types.EmbedContentConfig(task_type="POETRY")
    fails(lambda: client.models.embed_content(model="m", contents="a", config=bad), errors.ClientError, words="POETRY")
    wrong = genai.Client(api_key="wrong", http_options={"base_url": url})
    fails(lambda: wrong.models.embed_content(model="m", contents="a"), errors.ClientError, words="UNAUTHENTICATED")


def mistral_client(url, want, _):
    from mistralai.client import Mistral

    with Mistral(api_key=KEY, server_url=url) as client:
        answer = client.embeddings.create(model="bert-e5", inputs=TEXTS)
        same([one.embedding for one in answer.data], want(TEXTS), "mistral")
        assert [model.id for model in client.models.list().data][0] == "bert-e5"
        fails(lambda: client.embeddings.create(model="m", inputs=["word " * 5000]), Exception, words="tokens")


def ollama_client(url, want, _):
    import ollama

    client = ollama.Client(host=url, headers={"Authorization": f"Bearer {KEY}"})
    same(client.embed(model="bert-e5", input=TEXTS).embeddings, want(TEXTS), "ollama")
    same([client.embeddings(model="bert-e5:latest", prompt=TEXTS[0]).embedding], want(TEXTS[:1]), "ollama's older route")
    assert [model.model for model in client.list().models][0] == "bert-e5:latest"
    assert client.show("bert-e5").modelinfo["bert.embedding_length"] == want(TEXTS).shape[1]
    client.pull("bert-e5")
    client.ps()
    fails(lambda: client.embed(model="bert-e5", input=["word " * 5000], truncate=False), ollama.ResponseError, words="tokens")


def hugging_face_client(url, want, scores):
    import huggingface_hub
    import numpy

    client = huggingface_hub.InferenceClient(base_url=url, api_key=KEY)
    same(client.feature_extraction(TEXTS[0]), want(TEXTS[:1], "--prompt", ""), "huggingface_hub")
    same(client.feature_extraction(TEXTS[0], prompt_name="query"), want(TEXTS[:1], "--prompt-name", "query"), "huggingface_hub, a prompt")
    found = client.sentence_similarity(TEXTS[0], other_sentences=TEXTS[1:3])
    vectors = want(TEXTS, "--prompt", "")
    assert numpy.allclose(found, vectors[1:3] @ vectors[0], atol=1e-6)
    fails(lambda: client.feature_extraction("a", prompt_name="none such"), huggingface_hub.errors.HfHubHTTPError, words="none such")
    status, _, body = post(url, "/rerank", {"query": TEXTS[0], "texts": TEXTS[1:3], "raw_scores": False})
    assert status == 200 and all(abs(one["score"] - scores[one["index"]]) < 1e-6 for one in json.loads(body))
    status, headers, body = post(url, "/embed", {"inputs": ["word " * 5000, "a"]})
    assert status == 200 and headers["x-truncated"] == "1" and int(headers["x-compute-tokens"]) == LONGEST + 3
    assert post(url, "/embed", {"inputs": ["word " * 5000], "truncate": False})[0] == 422
    assert post(url, "/embed_sparse", {"inputs": "a"})[0] == 424


def nomic_client(url, want, _):
    # Its key is what `nomic login` leaves in the home folder.
    home = tempfile.TemporaryDirectory()
    (pathlib.Path(home.name) / ".nomic").mkdir()
    login = {"token": KEY, "refresh_token": None, "tenant": "production", "expires": None}
    (pathlib.Path(home.name) / ".nomic" / "credentials").write_text(json.dumps(login))
    os.environ |= {"HOME": home.name, "ATLAS_API_PATH": url}
    from nomic import embed

    answer = embed.text(TEXTS[:3], model="bert-e5", task_type="search_query")
    same(answer["embeddings"], want(TEXTS[:3], "--task", "retrieval-query"), "nomic")


def post(url, path, body, key=KEY, **headers):
    """Status, headers and body of a bare request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Authorization": f"Bearer {key}", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def jina_form(url, want, scores):
    body = {"model": "bert-e5", "input": TEXTS, "task": "retrieval.query", "embedding_type": "float", "normalized": True}
    status, _, answer = post(url, "/v1/embeddings", body)
    same([one["embedding"] for one in json.loads(answer)["data"]], want(TEXTS, "--task", "retrieval-query"), "jina")
    status, _, answer = post(url, "/jina/v1/rerank", {"model": "reranker-bert", "query": TEXTS[0], "documents": TEXTS[1:3]})
    results = json.loads(answer)["results"]
    assert status == 200 and all(one["document"]["text"] == TEXTS[1 + one["index"]] for one in results)
    assert all(abs(one["relevance_score"] - scores[one["index"]]) < 1e-6 for one in results)
    status, _, answer = post(url, "/jina/v1/embeddings", {**body, "input": ["word " * 5000], "truncate": False})
    assert status == 400 and json.loads(answer)["detail"]["code"] == "INPUT_TOKEN_LIMIT_EXCEEDED"
    status, _, answer = post(url, "/v1/embeddings", {**body, "input": ["tea is made", "of leaves"], "late_chunking": True})
    assert status == 200 and len(json.loads(answer)["data"]) == 2


def vertex_form(url, want, _):
    path = "/v1/projects/p/locations/l/publishers/google/models/bert-e5"
    body = {"instances": [{"content": text, "task_type": "RETRIEVAL_QUERY"} for text in TEXTS], "parameters": {"outputDimensionality": 16}}
    status, _, answer = post(url, f"{path}:predict", body)
    answer = json.loads(answer)
    assert status == 200, answer
    vectors = [one["embeddings"]["values"] for one in answer["predictions"]]
    same(vectors, want(TEXTS, "--task", "retrieval-query", "--dimensions", "16"), "vertex")
    assert answer["predictions"][0]["embeddings"]["statistics"]["truncated"] is False


def node_clients(url, want, scores):
    npm = shutil.which("npm")
    if npm is None:
        print("there is no npm: Node's clients were left out")
        return
    folder = cache() / "taskvec-test-clients-node"
    ready = folder / "ready.txt"
    wanted = "\n".join(NODE_PACKAGES)
    if not ready.exists() or ready.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        subprocess.run([npm, "install", "--silent", "--no-audit", "--no-fund", *NODE_PACKAGES], cwd=folder, check=True)
        ready.write_text(wanted)
    script = folder / "talk.mjs"
    script.write_text((HERE / "talk.mjs").read_text())
    cases = {
        "url": url, "key": KEY, "texts": TEXTS, "plain": want(TEXTS).tolist(), "scores": scores,
        "query": want(TEXTS, "--task", "retrieval-query").tolist(), "document": want(TEXTS, "--task", "retrieval-document").tolist(),
        "bare": want(TEXTS, "--prompt", "").tolist(),
    }
    subprocess.run(["node", script], input=json.dumps(cases), text=True, check=True, cwd=folder, timeout=300)


def the_page(url, *_):
    """In Chromium, if there is one; the pictures are kept where TASKVEC_PICTURES says."""
    chromium = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    folder = cache() / "taskvec-test-clients-node"
    if chromium is None or not (folder / "node_modules" / "playwright-core").exists():
        print("there is no Chromium, or no npm: the page was not looked at")
        return
    script = folder / "page.mjs"
    script.write_text((HERE / "page.mjs").read_text())
    words = ["node", script, f"{url}/?key={KEY}", os.environ.get("TASKVEC_PICTURES", "")]
    subprocess.run(words, check=True, cwd=folder, timeout=300, env={**os.environ, "CHROMIUM": chromium})


def every_route_asks_for_the_key(url):
    paths = [line.split('"')[1] for line in (HERE.parents[1] / "crates/server/src/routes.rs").read_text().split("\n")
             if line.strip().startswith(("post(\"", "get(\""))]
    assert len(paths) > 30
    for path in [*paths, "/metrics", "/", "/nowhere", "/tei/embed"]:
        path = path.replace("{*model}", "m").replace("{*rest}", "m:embedContent")
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"]:
            request = urllib.request.Request(url + path, b"{}" if method != "GET" else None, method=method)
            try:
                urllib.request.urlopen(request, timeout=30)
                raise AssertionError(f"{method} {path} was answered without a key")
            except urllib.error.HTTPError as error:
                assert error.code == 401, (method, path, error.code)
                assert json.loads(error.read()), path
    for path in ["/health", "/health/live", "/health/ready", "/ready", "/ping"]:
        assert urllib.request.urlopen(url + path).status == 200


def odd_requests(url):
    """Each has an answer in JSON, with a status that says whose fault it is."""
    deep = b"[" * 100_000
    for body, status in [(b"", 400), (b"{", 400), (deep, 400), (b'{"input":' + deep, 400), (b"\xff\xfe", 400), (b"null", 400),
                         (b"[]", 400), (b'{"input":{"a":1}}', 400), (b'{"input":5}', 400), (b'{"input":"a","dimensions":-1}', 400),
                         (b'{"input":"a","dimensions":1e99}', 400), (b'{"input":["a",["b"]]}', 400), (b'{"input":[1e99]}', 400),
                         (b'\xef\xbb\xbf{"input":"a"}', 200), (b'{"input":"a\xff"}', 200), (b'{"input":"\\ud800"}', 200)]:
        found, _, answer = post(url, "/v1/embeddings", body)
        assert found == status, (body[:40], found, answer[:200])
        json.loads(answer)
    status, headers, answer = post(url, "/v1/embeddings", b"x", **{"Content-Encoding": "gzip"})
    assert status == 415 and "gzip" in json.loads(answer)["error"]["message"]
    status, headers, _ = post(url, "/v1/embeddings", {"input": "a"}, **{"x-request-id": "mine"})
    assert status == 200 and headers["x-request-id"] == "mine" and float(headers["x-total-time"]) > 0
    for path, body, key in [("/v2/embed", {"model": "m", "texts": ["a"]}, "message"), ("/api/embed", {"model": "m"}, "error"),
                            ("/v1/models/m:embedContent", {}, "error"), ("/tei/nothing", {}, "error"), ("/cohere/nothing", {}, "message")]:
        status, _, answer = post(url, path, body)
        assert status in (400, 404, 422) and json.loads(answer)[key], (path, status, answer)
    metrics = urllib.request.urlopen(urllib.request.Request(f"{url}/metrics", headers={"api-key": KEY})).read().decode()
    for name in ["te_request_count{method=\"single\"}", "te_request_success", "te_request_failure{err=\"validation\"}", "te_queue_size",
                 "te_request_duration_bucket", "te_embed_count"]:
        assert name in metrics, name


CLIENTS = {
    "openai and azure": openai_client, "cohere": cohere_client, "voyageai": voyage_client, "google-genai": google_client,
    "mistralai": mistral_client, "ollama": ollama_client, "huggingface_hub": hugging_face_client, "nomic": nomic_client,
    "Jina's form": jina_form, "Vertex's form": vertex_form, "Node's clients": node_clients, "the page": the_page,
}


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    model, reranker = FIXTURES / "bert-e5", FIXTURES / "reranker-bert"
    reference = Reference(binary, model)
    words = [binary, "rerank", "--device", "cpu", "--model", str(reranker), TEXTS[0], *TEXTS[1:3], "--json"]
    ranked = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    scores = [one["score"] for one in sorted(ranked, key=lambda one: one["index"])]
    if not all(0 < score < 1 for score in scores):
        import math

        scores = [1 / (1 + math.exp(-score)) for score in scores]
    failed = []
    with Served(binary, "--model", model, "--model", reranker, "--api-key", KEY) as served:
        every_route_asks_for_the_key(served.url)
        odd_requests(served.url)
        only = [word for word in sys.argv[2:] if not word.startswith("-")]
        for name, client in CLIENTS.items():
            if only and name not in only:
                continue
            start = time.time()
            try:
                client(served.url, reference.vectors, scores)
                print(f"{name}: well ({time.time() - start:.1f} s)", flush=True)
            except Exception as error:
                import traceback

                traceback.print_exc()
                print(f"{name}: {type(error).__name__}: {error}"[:2000], flush=True)
                failed.append(name)
    assert not failed, failed


if __name__ == "__main__":
    main() if "--ready" in sys.argv else with_packages()
