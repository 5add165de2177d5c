"""Wrong calls, files and spaces: exit 2, one sentence that names the culprit, nothing written; all told in one file.

``messages.txt`` holds every message, to be read by whoever judges their tone. It is compared with what is said now, and
written anew by ``python -m pytest tests/faults/test_messages.py --update-messages``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdsearch import command, export, train, tune
from tests.conftest import ROOT
from tests.faults.bad_calls import ALL, OWN, Call, sound
from tests.job.test_bad_calls import here, snapshot

__all__ = ["here"]  # the fixture

MESSAGES = Path(__file__).with_name("messages.txt")
MAINS: dict[str, Callable[..., int]] = {"tune": tune.main, "train": train.main, "export": export.main}
CASES = [(group, name) for group, calls in ALL.items() for name in calls]
# What differs from machine to machine and from version to version of a library.
VARYING = (
    (r"more than \d+ CPUs", "more than <n> CPUs"),
    (r"only \d+ trials of", "only <n> trials of"),
    (r"no machine here (has one that Ray and torch can use|has more than \d+)", "no machine here has <so many>"),
    (r"(is no readable npz file) \(.*\):", r"\1 (<numpy's words>):"),
    (r"(is not JSON|is not valid TOML:|is no valid TOML:) .*", r"\1 <the parser's words>"),
    (r"(file:///proc/none/run cannot be written) \(.*\)", r"\1 (<the system's words>)"),
    (r"(no Ray cluster answers there) \(.*\)", r"\1 (<Ray's words>)"),
)
said: dict[tuple[str, str], str] = {}


@pytest.fixture
def folder(here: Path) -> Path:
    """A working folder in which every command would work."""
    put(here, sound())
    return here


def put(folder: Path, files: object) -> None:
    for name, content in dict(files).items():  # type: ignore[call-overload]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def told(message: str, folder: Path) -> str:
    message = message.replace(f"{folder}/", "").replace(str(folder), ".")
    for pattern, general in VARYING:
        message = re.sub(pattern, general, message)
    return message


def arguments(call: Call) -> list[str]:
    return call.arguments.split(" ") if call.arguments else []


def begins(*args: object) -> None:
    raise AssertionError("the call was taken for a sound one")


@pytest.mark.parametrize(("group", "name"), CASES, ids=[f"{group}: {name}" for group, name in CASES])
def test_a_mistake_is_one_sentence(
    group: str, name: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ALL[group][name]
    monkeypatch.setattr("kdsearch.data.download._TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr("kdsearch.training.reference._train", begins)  # a mistake not seen shall cost no training
    put(folder, call.files)
    before = snapshot(folder)
    code = command.run(MAINS[call.command], arguments(call))
    out, err = capsys.readouterr()
    assert code == 2, out + err
    (line,) = err.splitlines()
    assert line.startswith("kdsearch: error: ")
    assert call.says in line
    assert "Traceback" not in line
    assert call.command != "tune" or out == ""
    after = {path: content for path, content in snapshot(folder).items() if not path.endswith(".lock")}
    assert after == before
    said[group, name] = told(line.removeprefix("kdsearch: error: "), folder)


def test_the_sound_folder_is_sound(folder: Path) -> None:
    """Without the mistake each call would begin, so it is the mistake that is refused."""
    from kdsearch.job.plan import check
    from kdsearch.job.settings import JobSettings

    assert check(JobSettings(dataset="corner.toml", space=Path("space.toml"))).dataset.n_nodes == 3


def test_there_are_enough_of_them() -> None:
    assert sum(map(len, OWN.values())) >= 100


def test_every_message_is_in_the_file(request: pytest.FixtureRequest) -> None:
    if set(said) != set(CASES):
        pytest.skip("not all messages were asked for, or some were wrong")
    lines = [
        "What kdsearch says to mistakes, after 'kdsearch: error: ' and with exit code 2. Written by",
        "python -m pytest tests/faults/test_messages.py --update-messages",
    ]
    for group, calls in ALL.items():
        lines += ["", f"== {group} ==", ""]
        lines += [f"{name}\n    {said[group, name]}" for name in calls]
    text = "\n".join(lines) + "\n"
    if request.config.getoption("--update-messages"):
        MESSAGES.write_text(text, encoding="utf-8")
    assert MESSAGES.read_text(encoding="utf-8") == text


def test_a_process_says_the_same(folder: Path) -> None:
    """Not only in this process: no warning of a library comes first, and Ray is never started."""
    call = ALL["readings"]["a sensor of NaN"]
    put(folder, call.files)
    process = subprocess.run(
        [sys.executable, "-m", "kdsearch.tune", *arguments(call)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.splitlines()
    assert call.says in line
