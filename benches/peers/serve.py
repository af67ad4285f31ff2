#!/usr/bin/env python3
"""taskvec's server beside infinity's, asked in turns over loopback in OpenAI's words: the same model, the same texts.

    python3 -m venv .venv && .venv/bin/pip install "infinity-emb[server,torch]" "optimum<2" "transformers<4.49"
    benches/peers/serve.py --taskvec BINARY --infinity .venv/bin/infinity_emb --model FOLDER --texts FILE [--json FILE]

Each figure is the median of the rounds: how long one query takes when nothing else is asked, queries a second from 32
clients, texts a second from 16 clients that send 32 at once; and how long a server takes until its first answer.
"""

import argparse
import http.client
import json
import pathlib
import platform
import socket
import statistics
import subprocess
import threading
import time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, command, port, path, model):
        self.port, self.path, self.model = port, path, model
        begun = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                self.ask(self.connect(), ["ready"])
                break
            except (OSError, AssertionError, http.client.HTTPException):
                assert self.process.poll() is None, f"{command[0]} ended"
                assert time.perf_counter() - begun < 300, f"{command[0]} does not answer"
                time.sleep(0.02)
        self.start = time.perf_counter() - begun

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def ask(self, connection, texts):
        body = json.dumps({"model": self.model, "input": texts, "encoding_format": "base64"})
        connection.request("POST", self.path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        read = answer.read()
        assert answer.status == 200, read[:200]
        return read

    def resident(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) >> 10


def one_by_one(server, queries):
    connection, times = server.connect(), []
    for query in queries:
        begun = time.perf_counter()
        server.ask(connection, [query])
        times.append(1e3 * (time.perf_counter() - begun))
    return {"p50_ms": statistics.median(times), "p99_ms": sorted(times)[int(0.99 * len(times))]}


def at_once(server, requests, clients):
    """Texts a second of requests that so many clients send."""
    left, lock = list(requests), threading.Lock()

    def client():
        connection = server.connect()
        while True:
            with lock:
                if not left:
                    return
                texts = left.pop()
            server.ask(connection, texts)
    threads = [threading.Thread(target=client) for _ in range(clients)]
    count, begun = sum(map(len, requests)), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - begun)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--taskvec", required=True)
    a.add_argument("--infinity", required=True)
    a.add_argument("--model", required=True)
    a.add_argument("--texts", required=True, type=pathlib.Path)
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--json", type=pathlib.Path)
    args = a.parse_args()
    texts = args.texts.read_text().splitlines()
    queries = [" ".join(text.split()[:10]) for text in texts]
    name = pathlib.Path(args.model).name
    ports = [free_port(), free_port()]
    servers = {
        "taskvec": Server([args.taskvec, "serve", "--device", "cpu", "--port", str(ports[0]), "--model", args.model],
                          ports[0], "/v1/embeddings", name),
        "infinity": Server([args.infinity, "v2", "--model-id", args.model, "--served-model-name", name, "--device", "cpu", "--engine", "torch",
                            "--host", "127.0.0.1", "--port", str(ports[1])], ports[1], "/embeddings", name),
    }
    found = {server: {"start_s": [it.start], "one_ms": [], "one_p99_ms": [], "queries_per_second": [], "texts_per_second": []}
             for server, it in servers.items()}
    batches = [texts[i:i + 32] for i in range(0, len(texts), 32)]
    for server in servers.values():
        one_by_one(server, queries[:20])
    for _ in range(args.rounds):
        for label, server in servers.items():
            one = one_by_one(server, queries[:200])
            found[label]["one_ms"].append(one["p50_ms"])
            found[label]["one_p99_ms"].append(one["p99_ms"])
            found[label]["queries_per_second"].append(at_once(server, [[query] for query in queries], 32))
            found[label]["texts_per_second"].append(at_once(server, batches, 16))
    result = {label: {key: statistics.median(values) for key, values in figures.items()} for label, figures in found.items()}
    for label, server in servers.items():
        result[label]["resident_mib"] = server.resident()
        server.process.terminate()
    cpu = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    result["machine"] = f"{platform.machine()}, {cpu}"
    result["rounds"] = args.rounds
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
