"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kdsearch.atomic import atomic_write, is_unfinished
from kdsearch.errors import UserError
from kdsearch.results.files import write_text
from tests.conftest import ROOT


def test_written_in_folders_that_lack_with_the_usual_rights(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "best.json"
    mask = os.umask(0o027)
    try:
        with atomic_write(path) as temporary:
            assert (temporary.parent, temporary.suffix, is_unfinished(temporary.name)) == (path.parent, ".tmp", True)
            temporary.write_text("whole")
            assert not path.exists()
    finally:
        os.umask(mask)
    assert path.read_text() == "whole"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), atomic_write(path, ending=".onnx") as temporary:
        assert temporary.suffix == ".onnx"
        temporary.write_text("ne")
        raise KeyboardInterrupt
    with pytest.raises(FileNotFoundError), atomic_write(path):
        pass  # nothing was written
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("sync", [True, False])
def test_readers_never_see_a_part(tmp_path: Path, sync: bool) -> None:
    path, done, seen = tmp_path / "file", threading.Event(), set()
    path.write_bytes(b"0" * 100_000)

    def read() -> None:
        while not done.is_set():
            content = path.read_bytes()
            seen.add((len(content), len(set(content))))

    reader = threading.Thread(target=read)
    reader.start()
    for k in range(50):
        with atomic_write(path, sync=sync) as temporary:
            temporary.write_bytes(str(k % 10).encode() * 100_000)
    done.set()
    reader.join()
    assert seen == {(100_000, 1)}


def test_a_link_stays_one_and_a_folder_is_refused(tmp_path: Path) -> None:
    link, real = tmp_path / "link.json", tmp_path / "there" / "real.json"
    real.parent.mkdir()
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    for folder in (real.parent, Path()):
        with pytest.raises(UserError, match="cannot be written \\(Is a directory\\)"):
            write_text(folder, "new")
    assert [p.name for p in real.parent.iterdir()] == ["real.json"]


def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through\n")
    reader.join(10)
    assert read == ["through\n"]
    assert pipe.is_fifo()


def test_a_redirected_output_keeps_what_is_in_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    code = "from pathlib import Path; from kdsearch.results.files import write_text\n"
    code += "write_text(Path('/dev/stdout'), 'table\\n'); print('after')"
    with log.open("a") as stream:
        subprocess.run([sys.executable, "-c", code], stdout=stream, check=True, cwd=ROOT)
    assert log.read_text() == "before\ntable\nafter\n"


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with contextlib.suppress(UserError):
        write_text(tmp_path / "loop", "text")
