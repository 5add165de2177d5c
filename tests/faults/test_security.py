"""What comes from outside is data and never code; what listens, listens to this machine alone; nothing is reported."""

from __future__ import annotations

import ast
import io
import os
import pickle
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from kdsearch.data import load
from kdsearch.data.catalog import PUBLISHED
from kdsearch.errors import UserError
from kdsearch.search.checkpoints import Checkpoints
from kdsearch.search.session import ENVIRONMENT
from kdsearch.search.trainable import unpack
from kdsearch.training.checkpoint import load_tensors
from tests.conftest import ROOT
from tests.data.conftest import GRAPH, TOML
from tests.faults.processes import descendants, listening

SOURCES = sorted((ROOT / "kdsearch").rglob("*.py"))


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.sign),)


@pytest.fixture
def sign(tmp_path: Path) -> Iterator[Path]:
    """What a bomb makes; the bomb itself is tried at the end, or its silence would mean nothing."""
    sign = tmp_path / "exploded"
    yield sign
    assert not sign.exists()
    pickle.loads(pickle.dumps(Bomb(sign)))
    assert sign.exists()


def test_no_reader_of_files_runs_what_is_in_them(tmp_path: Path, sign: Path) -> None:
    packed = io.BytesIO()
    torch.save({"run": Bomb(sign), "epoch": 1, "seconds": 0.0}, packed)
    states = Checkpoints(tmp_path / ".trials")
    states.write(3, packed.getvalue())  # a state of a trial, changed by somebody while the search stood still
    state = states.read(3)
    assert state is not None
    with pytest.raises(pickle.UnpicklingError):
        unpack(state)
    (tmp_path / "x.pt").write_bytes(packed.getvalue())
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_tensors(tmp_path / "x.pt")
    array = np.empty((96, 3), dtype=object)
    array[:] = Bomb(sign)
    (tmp_path / "graph.csv").write_text(GRAPH)
    for name in ("speeds.npy", "speeds.npz"):
        (np.save if name.endswith("npy") else np.savez)(tmp_path / name, array)
        (tmp_path / "x.toml").write_text(TOML.replace("speeds.csv", name))
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            load(tmp_path / "x.toml")


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call by its dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_source_has_no_door(path: Path) -> None:
    """Every load says that it wants data only; no shell, no eval, no pickle, no archive is unpacked to disk."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name, call in calls(tree):
        given = {k.arg: ast.unparse(k.value) for k in call.keywords}
        if name == "torch.load":
            assert given.get("weights_only") == "True", ast.unparse(call)
        if name in ("np.load", "np.lib.format.read_array"):
            assert given.get("allow_pickle") == "False", ast.unparse(call)
        assert given.get("shell", "False") == "False", ast.unparse(call)
        assert name not in ("eval", "exec", "compile", "os.system", "os.popen"), ast.unparse(call)
        assert not re.search(r"^(pickle|cloudpickle|dill|joblib|marshal|shelve|yaml)\.", name), ast.unparse(call)
        assert name.rsplit(".", 1)[-1] not in ("extractall", "extract", "unpack_archive"), ast.unparse(call)
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "tarfile"} & set(names)


def test_an_archive_writes_nothing_anywhere(tmp_path: Path) -> None:
    """Members that would leave their folder, were they unpacked: archives are read in memory only."""
    inner = io.BytesIO()
    np.save(inner, np.full((96, 3), 50.0))
    folder = tmp_path / "data"
    folder.mkdir()
    with zipfile.ZipFile(folder / "speeds.npz", "w") as archive:
        archive.writestr("../../escaped.npy", inner.getvalue())
        archive.writestr("/tmp/kdsearch-escaped.npy", inner.getvalue())
    (folder / "graph.csv").write_text(GRAPH)
    (folder / "x.toml").write_text(TOML.replace('file = "speeds.csv"', 'file = "speeds.npz"\nkey = "../../escaped"'))
    before = sorted(p.name for p in tmp_path.rglob("*"))
    assert load(folder / "x.toml").n_nodes == 3
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    assert not Path("/tmp/kdsearch-escaped.npy").exists()


def test_an_archive_that_unpacks_to_more_than_memory_is_refused(tmp_path: Path) -> None:
    """A megabyte of zeros' zeros: the header claims eight terabytes, and they would be inflated one by one."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**3)})
    with zipfile.ZipFile(tmp_path / "speeds.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", header.getvalue() + b"\0" * (1 << 20))
    (tmp_path / "graph.csv").write_text(GRAPH)
    (tmp_path / "x.toml").write_text(TOML.replace("speeds.csv", "speeds.npz"))
    with pytest.raises(UserError, match=r"speeds\.npz"):
        load(tmp_path / "x.toml")


def test_every_download_is_pinned_encrypted_and_limited() -> None:
    files = [file for known in PUBLISHED.values() for file in (known.speeds, known.graph)]
    assert len(files) >= 4
    for file in files:
        assert re.fullmatch(r"[0-9a-f]{40}", file.blob)
        assert 0 < file.limit <= 1 << 27
        assert all(url.startswith("https://") for url in file.urls)
        assert not set(file.name) & set("/\\")


def test_usage_is_not_reported() -> None:
    assert ENVIRONMENT["RAY_USAGE_STATS_ENABLED"] == "0"


SERVING = """
import os, time
from kdsearch.search.session import Session
with Session() as session:
    session.wait()
    import ray
    from ray._common.usage import usage_lib
    assert not usage_lib.usage_stats_enabled()
    assert ray.get(ray.remote(lambda: 7).remote()) == 7
    print(os.environ["RAY_USAGE_STATS_ENABLED"], flush=True)
    import sys; sys.stdin.read()
"""


def test_ray_listens_to_this_machine_alone() -> None:
    """Whoever reaches Ray's ports may run code as this user: no other machine shall."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVING],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "0\n"
            open_to = listening(descendants(process.pid))
        finally:
            process.stdin.close()
            process.wait(timeout=120)
    assert process.returncode == 0
    assert len(open_to) >= 3  # the servers were seen
    assert not {address for address, _ in open_to if not address.startswith("127.") and address != "::1"}


def test_what_listens_is_seen() -> None:
    """Or the test above could not fail."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert ("0.0.0.0", server.getsockname()[1]) in listening({os.getpid()})
