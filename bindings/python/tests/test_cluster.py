"""More than one machine: two nodes of Ray on this one, of which a worker dies, or the driver. Every row has to come out once."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from taskvec import Embedder

ROWS, FILES = 16_000, 8
WORDS = "tea leaves hill cat day night water stone river bird house old small green runs sleeps over under by with".split()
# The processes that embed.
WORKERS = {"ray": "ray::MapWorker", "daft": "ray::UDFActor"}

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are found in /proc")


def text(i):
    return " ".join(WORDS[(i * (k + 3) + i // 7**k) % len(WORDS)] for k in range(9)) + f" {i}"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    pytest.importorskip("ray"), pytest.importorskip("daft")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("rows")
    for file in range(FILES):
        ids = list(range(file * ROWS // FILES, (file + 1) * ROWS // FILES))
        parquet.write_table(pyarrow.table({"id": ids, "text": [text(i) for i in ids]}), folder / f"{file}.parquet")
    return folder


class Job:
    """The job, in a session of its own, so that all of its processes can be ended."""

    def __init__(self, *words):
        script = pathlib.Path(__file__).with_name("cluster_job.py")
        self.process = subprocess.Popen([sys.executable, script, *map(str, words)], start_new_session=True)

    def wait(self):
        assert self.process.wait(300) == 0

    def kill_a_worker(self, name):
        """Kills a process that embeds, once it has worked for a second."""
        until = time.time() + 120
        while time.time() < until and self.process.poll() is None:
            for folder in pathlib.Path("/proc").glob("[0-9]*"):
                try:
                    command = (folder / "cmdline").read_bytes().decode(errors="replace")
                    ticks = sum(int(word) for word in (folder / "stat").read_text().rsplit(")", 1)[1].split()[11:13])
                except OSError:
                    continue
                if command.startswith(name) and ticks > os.sysconf("SC_CLK_TCK"):
                    os.kill(int(folder.name), signal.SIGKILL)
                    return
            time.sleep(0.1)
        raise AssertionError("no worker was found")

    def kill_all(self):
        """The driver, and all nodes with it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        subprocess.run(["pkill", "-9", "-f", "ray::|raylet|gcs_server|ray/_private|ray/dashboard"])
        time.sleep(1)


def rows(out):
    from pyarrow import parquet

    ids, vectors = [], {}
    for file in sorted(pathlib.Path(out).rglob("*.parquet")):
        table = parquet.read_table(file)
        ids += table["id"].to_pylist()
        vectors |= dict(zip(table["id"].to_pylist()[:2], table["embedding"].to_pylist()[:2]))
    return ids, vectors


def check(out):
    ids, vectors = rows(out)
    assert sorted(ids) == list(range(ROWS)), "all rows, each once"
    some = sorted(vectors)
    want = Embedder(device="cpu", precision="int8").encode([text(i) for i in some])
    assert (np.array([vectors[i] for i in some], dtype=np.float32) == want).all()


@pytest.mark.parametrize("engine", ["daft", "ray"])
def test_a_worker_is_killed(engine, source, tmp_path):
    out = tmp_path / "out"
    job = Job(engine, source, out)
    job.kill_a_worker(WORKERS[engine])
    job.wait()
    check(out)


def test_the_driver_is_killed(source, tmp_path):
    out, store = tmp_path / "out", tmp_path / "store"
    job = Job("daft", source, out, store)
    until = time.time() + 120
    while time.time() < until and (not out.exists() or len(list(out.rglob("*.parquet"))) < 4):
        time.sleep(0.1)
    job.kill_all()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet") if path.read_bytes()[-4:] == b"PAR1"}
    Job("daft", source, out, store).wait()
    check(out)
    kept = [path for path, time in before.items() if path.exists() and path.stat().st_mtime_ns == time]
    assert 0 < len(kept) < FILES, "what the store knew of is not embedded again, and the rest is"
