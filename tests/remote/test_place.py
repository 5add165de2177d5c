"""Files behind a URI, on a real file system of pyarrow's."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdsearch.errors import UserError
from kdsearch.remote.hand import all_at_hand, at_hand
from kdsearch.remote.place import Place
from kdsearch.remote.uri import Uri


def place(folder: Path) -> Place:
    return Place.open(Uri(folder.as_uri()))


def test_what_is_written_is_read_and_listed(tmp_path: Path) -> None:
    there = place(tmp_path / "a" / "run")
    assert there.files() == {}
    there.write("study.journal", b"one\n")
    there.write("checkpoints/best.pt", b"\0" * 9)
    there.write("study.journal", b"one\ntwo\n")
    assert there.files() == {"study.journal": 8, "checkpoints/best.pt": 9}
    assert there.read("study.journal") == b"one\ntwo\n"
    there.remove("checkpoints/best.pt")
    there.remove("checkpoints/best.pt")  # gone already
    assert list(there.files()) == ["study.journal"]
    there.check_writable()
    assert [p.name for p in (tmp_path / "a" / "run").iterdir() if p.is_file()] == ["study.journal"]


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("ftp://host/run", "no file system is known by this name"),
        ("s3:///run", "cannot be reached (Missing bucket name"),
        ("file:///", "names no folder"),
        ("s3://", "names no folder"),
        ("file://elsewhere/run", "cannot be reached"),
    ],
)
def test_what_is_no_place(uri: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        Place.open(Uri(uri))
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"--output {uri}")


def test_what_cannot_be_written_or_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=r"--output file:.*/file/run cannot be written \("):
        place(tmp_path / "file" / "run").check_writable()
    with pytest.raises(UserError, match=r"file:.*/none cannot be read \("):
        place(tmp_path).read("none")


def test_at_hand(tmp_path: Path) -> None:
    for name in (
        "runs/a/best.json",
        "runs/a/checkpoints/best.pt",
        "runs/a/networks/t.pt",
        "runs/a/.best.0123abcd.json",
        "b/one.onnx",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    uri = Uri((tmp_path / "runs" / "a").as_uri())
    with at_hand(uri, "--output") as folder:
        assert folder.name == "a"
        assert (folder / "checkpoints" / "best.pt").read_text() == "runs/a/checkpoints/best.pt"
        assert sorted(p.name for p in folder.iterdir()) == ["best.json", "checkpoints"]
    assert not folder.exists()
    with all_at_hand([uri, tmp_path, Uri((tmp_path / "b" / "one.onnx").as_uri())], "--output") as given:
        assert [p.name for p in given] == ["a", tmp_path.name, "one.onnx"]
        assert given[2].read_text() == "b/one.onnx"
    with pytest.raises(UserError, match=r"--output file:.*/none: there is nothing"):
        at_hand(Uri((tmp_path / "none").as_uri()), "--output").__enter__()
