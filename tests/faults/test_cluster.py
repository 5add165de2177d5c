"""A cluster of several nodes on one machine: joined, grown and shrunk while a search runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kdsearch.errors import UserError
from kdsearch.search.address import check_address
from tests.faults.processes import wait
from tests.faults.searches import begun, check_whole, environment, epochs, search

# A cluster as a process of its own, so that nothing of it is left in this one. It obeys lines on its stdin.
CLUSTER = """
import sys
from kdsearch.search.session import configure
configure()
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": int(sys.argv[1]), "include_dashboard": False})
nodes = []
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "add":
        nodes.append(cluster.add_node(num_cpus=1))
    else:
        cluster.remove_node(nodes.pop(), allow_graceful=False)
    print("done", flush=True)
cluster.shutdown()
"""


@contextmanager
def cluster(cpus: int, **env: str) -> Iterator[tuple[str, Callable[[str], None]]]:
    """Its address, and what to call with ``"add"`` or ``"kill"`` for a node of one CPU."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(cpus)],
        env=environment(**env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def say(line: str) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"

        try:
            yield process.stdout.readline().strip(), say
        finally:
            process.stdin.close()
            process.wait(timeout=60)


def workers_of(output: Path) -> list[str]:
    """The processes that ran the epochs so far, in order."""
    log = Path(f"{output}.log.begun")
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


def joined(output: Path, address: str, **more: Any) -> Any:
    usual = {"concurrency": "auto", "scheduler": "none", "pause": 0.5, "epochs": 6}
    return search(output, address=address, **{**usual, **more})


def test_a_cluster_of_two_nodes_is_joined(tmp_path: Path) -> None:
    """Both run trials, and the cluster is still there when the search has ended."""
    output = tmp_path / "run"
    with cluster(1) as (address, say):
        say("add")
        for trials in (4, 5):
            with joined(output, address, trials=trials, pause=0.4, resume=trials > 4) as process:
                text, _ = process.communicate(timeout=250)
            assert process.returncode == 0, text
            check_whole(output, trials)
    assert "2 at once" in text or "1 at once" in text
    assert len(set(workers_of(output))) >= 2


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_node_comes_and_another_goes(tmp_path: Path) -> None:
    """One that comes is used; one that is killed costs its trial the epochs since its last state and nothing else."""
    output, trials = tmp_path / "run", 6
    # A trial is longer than a worker takes to start, on a busy machine too.
    with cluster(1) as (address, say), joined(output, address, trials=trials, pause=0.5, epochs=80) as process:
        wait(lambda: len(epochs(output)) >= 2 or process.poll() is not None)
        assert len(set(workers_of(output))) == 1
        say("add")
        wait(lambda: len(set(workers_of(output))) == 2 or process.poll() is not None)
        enough = len(epochs(output)) + 8
        wait(lambda: len(epochs(output)) >= enough or process.poll() is not None)
        assert process.poll() is None, "it ended before the node could be killed"
        say("kill")
        text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text
    check_whole(output, trials)
    assert "its worker died; it goes on in another" in text
    assert "Traceback" not in text
    again = len(begun(output)) - len(set(begun(output)))
    assert again <= 3, f"{again} epochs were run twice"


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_the_head_of_a_cluster_is_lost(tmp_path: Path) -> None:
    """Everything is kept, and the search goes on without a cluster."""
    output = tmp_path / "run"
    with cluster(2) as (address, _), joined(output, address, trials=6) as process:
        wait(lambda: len(epochs(output)) >= 4 or process.poll() is not None)
    # Left above: cluster() has shut it down by now, and search() has killed the driver if it was still waiting.
    assert process.wait() != 0
    with search(output, trials=6, resume=True, scheduler="none", pause=0.5, epochs=6) as process:
        text, _ = process.communicate(timeout=250)
    assert process.returncode == 0, text
    check_whole(output, 6)


def test_a_cluster_may_ask_for_a_token(tmp_path: Path) -> None:
    """Without it one sentence says what to do; with it the search runs."""
    known = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    with cluster(1, **known) as (address, _):
        with joined(tmp_path / "without", address, env=environment(RAY_AUTH_MODE="disabled"), trials=1) as process:
            text, _ = process.communicate(timeout=250)
        assert process.returncode == 2
        assert (
            f"kdsearch: error: --address {address}: that Ray cluster asks for a token: run with RAY_AUTH_MODE" in text
        )
        assert "Traceback" not in text
        with joined(tmp_path / "with", address, env=environment(**known), trials=1, epochs=2) as process:
            text, _ = process.communicate(timeout=250)
        assert process.returncode == 0, text


@pytest.mark.parametrize("address", ["", "somewhere", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "ray://h:10001"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UserError, match="wants auto, or host:port"):
        check_address(address)


def test_nobody_answers() -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=r"--address 127\.0\.0\.1:9: no Ray cluster answers there"):
        check_address("127.0.0.1:9")
    assert time.monotonic() - began < 10


def test_the_objective_is_packed_once(tmp_path: Path) -> None:
    """And so travels to each machine once, by the object store, however many trials run there."""
    code = f"""
import pickle, sys
from pathlib import Path
from objectives import Bowl
from kdsearch.search.runner import run_search
from kdsearch.search.settings import SearchSettings
from kdsearch.search.space import Parameter, Space

class Counted(Bowl):
    def __getstate__(self):
        with Path({str(tmp_path / "packed")!r}).open("a") as file:
            file.write("x")
        return self.__dict__

space = Space("none", (Parameter("x", 0.0, 1.0), Parameter("rate", 0.05, 1.0)))
found = run_search(Counted(), space, SearchSettings(Path({str(tmp_path / "run")!r}), 6, 2, gpus_per_trial=0))
assert found.finished == 6
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "packed").read_text() == "x"
    assert os.path.exists(tmp_path / "run" / "study.journal")
