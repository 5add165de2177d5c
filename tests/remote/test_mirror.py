"""A folder and its copy behind a URI: kept up, taken over, carried on from elsewhere, and never in the search's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest

from kdsearch.errors import UserError
from kdsearch.remote.copies import bring, bring_networks
from kdsearch.remote.mirror import Mirror
from kdsearch.remote.place import Place
from kdsearch.remote.uri import Uri
from kdsearch.remote.writer import Writer
from kdsearch.search.study import open_study, read_study
from tests.conftest import ROOT

FAST = 0.05
# A living writer says a word in less than three times so many seconds, on a busy machine too.
PATIENT = 0.6


@pytest.fixture
def there(tmp_path: Path) -> Place:
    return Place.open(Uri((tmp_path / "bucket" / "run").as_uri()))


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def mirror(there: Place, folder: Path, *networks: Path) -> Mirror:
    writer = Writer(there, folder, FAST)
    writer.take(lambda seconds: None)
    return Mirror(there, folder, networks, writer, FAST)


def until(what: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_the_copy_follows_and_is_whole_at_the_end(tmp_path: Path, there: Place) -> None:
    here, teacher = made(tmp_path / "here"), tmp_path / "cache" / "teacher.pt"
    with mirror(there, here, teacher):
        put(here / "study.journal", b'{"op": 1}\n{"op"')
        put(here / ".trials" / "3.pt", b"state")
        put(here / ".tune" / "search" / "x", b"of Ray's")
        put(here / ".lock", b"")
        put(teacher.with_suffix(".partial"), b"half")
        until(lambda: {"study.journal", ".trials/3.pt", "networks/teacher.partial"} <= there.files().keys())
        assert there.read("study.journal") == b'{"op": 1}\n'  # no record in part
        (here / ".trials" / "3.pt").unlink()
        teacher.with_suffix(".partial").rename(teacher)
        put(here / "tensorboard" / "trial" / "events", b"x")
        until(lambda: ".trials/3.pt" not in there.files())
        put(here / "study.journal", b'{"op": 1}\n{"op": 2}\n')
        put(here / "best.json", b"{}")
    files = there.files()
    assert sorted(files) == ["best.json", "networks/teacher.pt", "study.journal", "tensorboard/trial/events"]
    assert there.read("study.journal") == b'{"op": 1}\n{"op": 2}\n'


def test_a_copy_that_fails_is_told_once_and_made_good(tmp_path: Path, there: Place) -> None:
    here = made(tmp_path / "here")
    told: list[str] = []
    bucket = tmp_path / "bucket"
    with mirror(there, here) as running:
        running.tell = told.append
        put(here / "study.journal", b"1\n")
        until(lambda: "study.journal" in there.files())
        bucket.rename(tmp_path / "gone")
        bucket.write_text("a file stands in its place")
        put(here / "study.journal", b"1\n2\n")
        until(lambda: told)
        time.sleep(10 * FAST)
        (line,) = told
        assert line.startswith(f"warning: {there.uri} cannot be written (")
        assert f"the search goes on in {here}, and copying is tried again" in line
        bucket.unlink()
        (tmp_path / "gone").rename(bucket)
        until(lambda: len(told) == 2)
    assert told[1] == f"{there.uri} is written again"
    assert there.read("study.journal") == b"1\n2\n"


def test_an_end_without_a_copy_is_an_error(tmp_path: Path, there: Place) -> None:
    here = made(tmp_path / "here")

    def search() -> None:
        with mirror(there, here) as running:
            running.tell = lambda line: None
            put(here / "study.journal", b"1\n")
            until(lambda: "study.journal" in there.files())
            (tmp_path / "bucket").rename(tmp_path / "gone")
            (tmp_path / "bucket").write_text("a file stands in its place")
            put(here / "study.journal", b"1\n2\n")

    with pytest.raises(
        UserError, match=r"lacks the last results \(.*\): they are in .*/here, and the same command with"
    ):
        search()


def test_which_of_two_copies_counts(tmp_path: Path, there: Place) -> None:
    here = made(tmp_path / "here")
    bring(there, here, resume=True)  # nothing anywhere: a search begins
    there.write("study.journal", b"1\n2\n")
    there.write("tensorboard/a/events", b"e")
    there.write("networks/teacher.pt", b"t")
    put(here / ".lock", b"")
    with pytest.raises(UserError, match="already holds a search: carry on with --resume"):
        bring(there, here, resume=False)
    bring(there, here, resume=True)
    assert (here / "study.journal").read_bytes() == b"1\n2\n"
    assert (here / "tensorboard" / "a" / "events").read_bytes() == b"e"
    assert not (here / "networks").exists()
    put(here / "study.journal", b"1\n2\n3\n")  # further than the copy
    bring(there, here, resume=True)
    assert (here / "study.journal").read_bytes() == b"1\n2\n3\n"
    there.write("study.journal", b"1\n2\n4\n5\n")  # carried on from another machine
    put(here / ".trials" / "2.pt", b"of the other way")
    bring(there, here, resume=True)
    assert (here / "study.journal").read_bytes() == b"1\n2\n4\n5\n"
    assert not (here / ".trials").exists()
    bring_networks(there, tmp_path / "cache", ["teacher.pt", "student.pt"])
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["teacher.pt"]
    for name in ("d-student-1.pt", "d-student-2.partial", "e-student-3.pt"):
        there.write(f"networks/{name}", b"s")
    bring_networks(there, tmp_path / "cache", ["teacher.pt"], "d-student-")
    kept = sorted(p.name for p in (tmp_path / "cache").iterdir())
    assert kept == ["d-student-1.pt", "d-student-2.partial", "teacher.pt"]


def test_what_was_confirmed_on_two_machines_counts_on_both(tmp_path: Path, there: Place) -> None:
    """The journal ends with the last trial, so it is the same before and after a confirmation."""
    here = made(tmp_path / "here")
    put(here / "study.journal", b"1\n")
    put(here / "confirm.json", b'{"a": {"seed": 1}}')
    put(here / ".confirm" / "a.npz", b"a")
    for name, content in {
        "study.journal": b"1\n",
        "confirm.json": b'{"b": {"seed": 2}}',
        ".confirm/b.npz": b"b",
        "best.json": b"{}",
    }.items():
        there.write(name, content)
    bring(there, here, resume=True)
    assert json.loads((here / "confirm.json").read_text()) == {"a": {"seed": 1}, "b": {"seed": 2}}
    assert sorted(p.name for p in (here / ".confirm").iterdir()) == ["a.npz", "b.npz"]
    assert (here / "best.json").exists()
    there.write("confirm.json", b"torn")
    bring(there, here, resume=True)
    assert set(json.loads((here / "confirm.json").read_text())) == {"a", "b"}


def test_one_writer_at_a_time(tmp_path: Path, there: Place) -> None:
    first, second = made(tmp_path / "first"), made(tmp_path / "second")
    waited: list[float] = []
    with mirror(there, first) as running:
        with pytest.raises(UserError, match=r"another search is writing to file:.*: wait for it"):
            Writer(there, second, PATIENT).take(waited.append)
        assert len(waited) == 1
        # One that was silent for too long finds that it has been replaced, and leaves the copy alone.
        told: list[str] = []
        running.tell = told.append
        there.write(".writer", b'{"writer": "another", "next_s": 0.05}')
        until(lambda: told)
        assert "has taken over" in told[0]
        put(first / "study.journal", b"1\n")
    assert "study.journal" not in there.files()
    Writer(there, second, PATIENT).take(waited.append)  # the other is silent
    assert len(waited) == 2
    Writer(there, second, PATIENT).take(waited.append)  # killed and started again on this machine: no wait
    assert len(waited) == 2


SEARCH = """
import sys
from pathlib import Path
from kdsearch.remote.mirror import Mirror
from kdsearch.remote.place import Place
from kdsearch.remote.uri import Uri
from kdsearch.remote.writer import Writer
from kdsearch.search.checkpoints import Checkpoints
from kdsearch.search.study import open_study
here, there = Path(sys.argv[1]), Place.open(Uri(sys.argv[2]))
here.mkdir()
writer = Writer(there, here, 0.1)
writer.take(print)
study = open_study(here, {"dataset": "demo"}, False)
states = Checkpoints(here / ".trials")
with Mirror(there, here, (), writer, 0.1):
    while True:
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        for epoch in range(1, 4):
            trial.report(0.5, epoch)
            states.write(trial.number, str(epoch).encode())
        study.tell(trial, 0.5)
        states.remove(trial.number)
        print(trial.number, flush=True)
"""


def test_a_search_that_was_killed_goes_on_elsewhere(tmp_path: Path, there: Place) -> None:
    """Its copy is a study like any other, at most a little behind, and no state is ahead of the journal."""
    with subprocess.Popen(
        [sys.executable, "-c", SEARCH, str(tmp_path / "here"), there.uri.whole],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        threading.Thread(target=process.stdout.read, daemon=True).start()
        until(lambda: there.files().get("study.journal", 0) > 20_000, seconds=120)
        process.kill()
    elsewhere = made(tmp_path / "elsewhere")
    bring(there, elsewhere, resume=True)
    brought, whole = read_study(elsewhere).get_trials(), read_study(tmp_path / "here").get_trials()
    finished = [t for t in brought if t.state.is_finished()]
    assert len(finished) > 5
    assert finished == [whole[t.number] for t in finished]
    for state in (elsewhere / ".trials").glob("*.pt"):
        assert max(brought[int(state.stem)].intermediate_values) >= int(state.read_text())
    study = open_study(elsewhere, {"dataset": "demo"}, True)
    assert study.ask().number == len(brought)
    assert isinstance(study, optuna.Study)
