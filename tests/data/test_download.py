"""Downloads, from a server on the loopback interface."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kdsearch.data import catalog
from kdsearch.data.catalog import RemoteFile
from kdsearch.data.download import data_folder, fetch, git_blob_id
from kdsearch.errors import UserError
from tests.conftest import ROOT

CONTENT = b"60,61\n62,63\n" * 20_000


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob " + str(len(content)).encode() + b"\0" + content).hexdigest()


@dataclass
class Server:
    url: str
    content: dict[str, bytes] = field(default_factory=dict)
    announced: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    delay: float = 0.0

    def file(self, name: str = "v.csv", *paths: str, limit: int = 1 << 20) -> RemoteFile:
        return RemoteFile(name, blob(CONTENT), tuple(f"{self.url}/{p}" for p in paths or (name,)), limit)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            state.asked.append(path)
            time.sleep(state.delay)
            if path not in state.content:
                self.send_error(404)
                return
            body = state.content[path]
            self.send_response(200)
            self.send_header("Content-Length", str(state.announced.get(path, len(body))))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{httpd.server_address[1]}")
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield state
    httpd.shutdown()
    httpd.server_close()


def left(folder: Path) -> list[str]:
    """What lies in the folder, lock files aside."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    server.content["v.csv"] = CONTENT
    path = fetch(server.file(), "toy", tmp_path)
    assert path == tmp_path / "toy" / "v.csv"
    assert path.read_bytes() == CONTENT
    assert fetch(server.file(), "toy", tmp_path) == path
    assert server.asked == ["v.csv"]
    assert left(tmp_path) == ["toy/v.csv"]


@pytest.mark.parametrize("place", ["v.csv", "toy/v.csv", "toy/vel.csv", "vel.csv"])
def test_a_file_that_lies_there_is_used(server: Server, tmp_path: Path, place: str) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / place).write_bytes(CONTENT)
    assert fetch(replace(server.file(), aliases=("vel.csv",)), "toy", tmp_path) == tmp_path / place
    assert server.asked == []


def test_a_different_file_is_rejected_and_removed(server: Server, tmp_path: Path) -> None:
    server.content["v.csv"] = CONTENT[:-1] + b"4"
    with pytest.raises(UserError, match=r"different file: its checksum is not the pinned one") as caught:
        fetch(server.file(), "toy", tmp_path)
    assert left(tmp_path) == []
    for part in ("v.csv", str(tmp_path), f"{server.url}/v.csv", "--dataset demo", "--data-dir"):
        assert part in str(caught.value)


def test_sha256_is_checked_where_it_is_known(server: Server, tmp_path: Path) -> None:
    server.content["v.csv"] = CONTENT
    with pytest.raises(UserError, match="SHA-256"):
        fetch(replace(server.file(), sha256="0" * 64), "toy", tmp_path)
    assert left(tmp_path) == []
    fetch(replace(server.file(), sha256=hashlib.sha256(CONTENT).hexdigest()), "toy", tmp_path)


def test_a_truncated_file_is_rejected_and_removed(server: Server, tmp_path: Path) -> None:
    server.content["v.csv"] = CONTENT[:1000]
    server.announced["v.csv"] = len(CONTENT)
    with pytest.raises(UserError, match=rf"broke off after 1000 of {len(CONTENT)} bytes"):
        fetch(server.file(), "toy", tmp_path)
    assert left(tmp_path) == []


def test_a_file_without_end_is_cut_off(server: Server, tmp_path: Path) -> None:
    server.content["v.csv"] = CONTENT
    with pytest.raises(UserError, match="larger than the 1000 bytes"):
        fetch(server.file(limit=1000), "toy", tmp_path)
    assert left(tmp_path) == []


def test_the_second_address_is_tried(server: Server, tmp_path: Path) -> None:
    server.content["second"] = CONTENT
    fetch(server.file("v.csv", "first", "second"), "toy", tmp_path)
    assert server.asked == ["first", "second"]
    with pytest.raises(
        UserError, match=r"first \(the server answered 404 .* or from .*third \(the server answered 404"
    ):
        fetch(server.file("w.csv", "first", "third"), "toy", tmp_path)


def test_a_wrong_file_in_the_datasets_own_folder_is_told_and_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "v.csv").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"is not the published v\.csv of 'toy'"):
        fetch(server.file(), "toy", tmp_path)
    assert (tmp_path / "toy" / "v.csv").read_bytes() == b"mine"
    assert server.asked == []


def test_a_stranger_at_the_top_is_not_taken_for_it(server: Server, tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_bytes(b"mine")
    with pytest.raises(UserError, match="the one there is a different file"):
        fetch(server.file(), "toy", tmp_path)
    server.content["v.csv"] = CONTENT
    assert fetch(server.file(), "toy", tmp_path) == tmp_path / "toy" / "v.csv"
    assert (tmp_path / "v.csv").read_bytes() == b"mine"


def test_nobody_listening_is_answered_at_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = RemoteFile("v.csv", blob(CONTENT), (f"http://127.0.0.1:{port}/a", f"http://127.0.0.1:{port}/b"), 10)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"could not be downloaded from .*not reachable") as caught:
        fetch(file, "toy", tmp_path)
    assert time.monotonic() - began < 2
    assert "/b" not in str(caught.value), "a dead host is asked once"


def test_a_silent_server_is_given_up_in_a_few_seconds(tmp_path: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/v.csv"
        began = time.monotonic()
        with pytest.raises(UserError, match="not reachable"):
            fetch(RemoteFile("v.csv", blob(CONTENT), (url, url), 10), "toy", tmp_path)
    assert time.monotonic() - began < 9


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot be written to .*--data-dir"):
        fetch(server.file(), "toy", tmp_path / "file")
    assert server.asked == []


def test_leftovers_of_a_killed_download_are_cleared(server: Server, tmp_path: Path) -> None:
    server.content["v.csv"] = CONTENT
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / ".v.csv.abc.part").write_bytes(b"half")
    fetch(server.file(), "toy", tmp_path)
    assert left(tmp_path) == ["toy/v.csv"]


def test_two_processes_download_once(server: Server, tmp_path: Path) -> None:
    server.content["v.csv"] = CONTENT
    server.delay = 1.0
    code = (
        "import sys; from kdsearch.data.catalog import RemoteFile; from kdsearch.data.download import fetch;"
        "fetch(RemoteFile('v.csv', sys.argv[1], (sys.argv[2],), 1 << 20), 'toy', sys.argv[3])"
    )
    command = [sys.executable, "-c", code, blob(CONTENT), f"{server.url}/v.csv", str(tmp_path)]
    both = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [p.wait(timeout=60) for p in both] == [0, 0]
    assert server.asked == ["v.csv"]


def test_the_order_of_data_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDSEARCH_DATA", str(tmp_path / "env"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_folder(tmp_path / "given") == tmp_path / "given"
    assert data_folder() == tmp_path / "env"
    monkeypatch.setenv("KDSEARCH_DATA", "")
    assert data_folder().name == "kdsearch"
    if sys.platform == "linux":
        assert data_folder() == tmp_path / "cache" / "kdsearch"


def test_git_agrees_on_the_blob_id(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_bytes(CONTENT)
    try:
        found = subprocess.run(["git", "hash-object", str(path)], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("git is not here")
    assert git_blob_id(path) == found.stdout.strip() == blob(CONTENT)


@pytest.mark.real
def test_published_files_among_the_real_pieces_bear_the_pinned_ids(real_data: Path) -> None:
    # The pieces keep the two graph files of the full sets unchanged.
    assert git_blob_id(real_data / "pemsd7-week" / "PeMSD7_W_228.csv") == catalog.PUBLISHED["pemsd7"].graph.blob
    assert git_blob_id(real_data / "pemsd8-head" / "distance.csv") == catalog.PUBLISHED["pemsd8"].graph.blob
    size = (real_data / "pemsd7-week" / "PeMSD7_W_228.csv").stat().st_size
    assert size <= catalog.PUBLISHED["pemsd7"].graph.limit


def test_the_catalog_is_sound() -> None:
    for name, known in catalog.PUBLISHED.items():
        assert known.declaration.name == name == known.declaration.space
        for file in (known.speeds, known.graph):
            assert len(bytes.fromhex(file.blob)) == 20
            assert all(url.startswith("https://") for url in file.urls)
    splits = {n: (k.declaration.split.train, k.declaration.split.total) for n, k in catalog.PUBLISHED.items()}
    assert splits == {"pemsd7": (34, 44), "pemsd8": (50, 62)}
