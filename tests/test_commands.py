"""The commands from outside: help, errors, export."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsearch import __version__, command, fingerprint, tune
from kdsearch.__main__ import COMMANDS
from kdsearch.distillation import losses
from kdsearch.errors import UserError
from kdsearch.results import best, store
from kdsearch.results.result import Result

ROOT = Path(__file__).resolve().parents[1]
EXISTING = [name for name in COMMANDS if importlib.util.find_spec(f"kdsearch.{name}")]


def call(*arguments: str, module: str = "kdsearch", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def document(**changes: Any) -> dict[str, Any]:
    figures = {f"{m}_{t}": {"mean": 2.0 + t / 100, "std": 0.01} for t in (15, 30, 45) for m in ("mae", "rmse", "mape")}
    return {
        "schema": 1,
        "dataset": "pemsd7",
        "loss": "ord",
        "prune": None,
        "params": {"batch_size": 25, "learning_rate": 0.00123456789, "alpha1": 0.1},
        "n_parameters": 10144,
        "validation": {"score": {"mean": 2.9, "std": 0.02}, **figures},
        "test": figures,
        "seeds": [0],
        "baselines": {"copy_last": {"validation": {}, "test": {"mae_15": 2.654}}},
        "fingerprint": {"code": "c", "data": "d", "protocol": "p"},
    } | changes


def one_error(process: subprocess.CompletedProcess[str]) -> str:
    """The sentence of a user's error, which is all that the process said."""
    assert process.returncode == 2, process
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    assert line.startswith("kdsearch: error: ")
    return line


@pytest.mark.parametrize("name", EXISTING)
def test_help_is_quick_and_loads_nothing_heavy(name):
    started = time.perf_counter()
    process = call("--help", module=f"kdsearch.{name}")
    assert time.perf_counter() - started < 2
    assert process.returncode == 0
    assert process.stdout.startswith(f"usage: python -m kdsearch.{name}")
    code = f"""
import sys
from kdsearch.{name} import main
try:
    main(["--help"])
except SystemExit:
    pass
sys.exit(", ".join({{"torch", "ray", "optuna", "pandas", "numpy", "rich"}} & set(sys.modules)))
"""
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert loaded.stderr.strip() == ""


@pytest.mark.parametrize("name", EXISTING)
def test_a_wrong_flag_is_one_sentence(name):
    assert "--no-such-flag" in one_error(call("--no-such-flag", module=f"kdsearch.{name}"))


def test_the_script_lists_and_dispatches():
    listing = call("--help")
    assert listing.returncode == 0
    assert all(name in listing.stdout for name in COMMANDS)
    started = time.perf_counter()
    told = dict(line.split(" ", 1) for line in call("--version").stdout.splitlines())
    assert time.perf_counter() - started < 2
    assert told == {**fingerprint.versions(), "code": fingerprint.code()}
    assert (told["kdsearch"], told["python"]) == (__version__, platform.python_version())
    assert call("export", "--help").stdout.startswith("usage: kdsearch export")
    assert "did you mean export?" in one_error(call("exprt"))


def test_mistyped_flags_and_choices_are_recognised():
    assert "did you mean --format?" in one_error(call("export", "--formt", "json"))
    assert "did you mean json?" in one_error(call("export", "--output", ".", "--format", "jsn"))
    assert "--output" in one_error(call("export", "--output"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("30m", 1800), ("90s", 90), ("1h30m", 5400), ("1.5d", 129600), ("0.5s", 0.5)]
)
def test_durations(text, seconds):
    assert command.duration(text) == seconds


@given(st.integers(0, 9), st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
def test_durations_add_up(d, h, m, s):
    assert command.duration(f"{d}d{h}h{m}m{s}s") == 86400 * d + 3600 * h + 60 * m + s


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (command.duration, ["", "2", "h", "-2h", "0s", "30m1h", "two hours"]),
        (command.positive_int, ["0", "-1", "1.5", "x", ""]),
        (command.non_negative_int, ["-1", "1e3"]),
        (command.count_or_auto, ["0", "all"]),
        (command.fraction_or_auto, ["-0.1", "1.5", "nan", "inf", "half"]),
        (command.confirm, ["3", "3x", "x3", "0x3", "3x0", "3x3x3", "-1x2"]),
        (command.setting, ["key", "=1", "key=", ""]),
        (command.size, ["4", "GB", "0GB", "-1GB", "4 apples"]),
    ],
)
def test_wrong_values_say_what_is_wanted(kind, texts):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match=r"wants .* not "):
            kind(text)


def test_values_are_read():
    assert command.fraction_or_auto("0.25") == 0.25
    assert command.fraction_or_auto("2") == 2
    assert command.fraction_or_auto("auto") == command.count_or_auto("auto") == command.size("auto") == "auto"
    assert command.count_or_auto("3") == command.positive_int("3") == 3
    assert command.confirm("3x5") == (3, 5)
    assert (command.size("4GB"), command.size("512MiB")) == (4_000_000_000, 512 * 1024**2)
    pairs = [command.setting(text) for text in ("learning_rate=1e6", "batch_size=50", "flag=true", "name=a=b")]
    found = command.settings(pairs)
    assert found == {"learning_rate": 1e6, "batch_size": 50, "flag": True, "name": "a=b"}
    assert [type(value) for value in found.values()] == [float, int, bool, str]
    with pytest.raises(UserError, match="batch_size is given twice"):
        command.settings([*pairs, ("batch_size", 25)])


def test_exit_codes(capsys):
    def raises(error: BaseException) -> int:
        def main(argv: object) -> int:
            raise error

        return command.run(main)

    assert command.run(lambda argv: None) == 0
    assert command.run(lambda argv: 3) == 3
    assert raises(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""
    assert raises(UserError("the file is not there")) == 2
    assert capsys.readouterr().err == "kdsearch: error: the file is not there\n"
    with pytest.raises(ZeroDivisionError):
        raises(ZeroDivisionError())


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    best.write_best(tmp_path / "best.json", document())
    arguments = [sys.executable, "-m", "kdsearch.export", "--output", str(tmp_path), "--format", "json"]
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # before the interpreter has even started: how much a pipe holds plays no part
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert errors == b""


def test_export_of_a_search(tmp_path):
    best.write_best(tmp_path / "best.json", document())
    table = call("export", "--output", str(tmp_path))
    assert table.returncode == 0
    assert table.stderr == ""
    header = next(line for line in table.stdout.splitlines() if line.startswith("|"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        *("Models", "Batch Size", "Learning Rate", "α1", "α2", "α3", "α", "β"),
    ]
    (exported,) = json.loads(call("export", "--output", str(tmp_path), "--format", "json").stdout)
    assert exported["rows"][0]["learning_rate"] == 0.00123456789
    rows = list(csv.DictReader(io.StringIO(call("export", "--output", str(tmp_path), "--format", "csv").stdout)))
    assert float(rows[0]["learning_rate"]) == 0.00123456789
    compared = call("export", "--output", str(tmp_path / "best.json"), "--table", "comparison").stdout
    assert "Copy last" in compared
    assert "2.654" in compared


def test_export_writes_a_file_and_shows_the_paper(tmp_path):
    best.write_best(tmp_path / "best.json", document())
    target = tmp_path / "tables" / "table2.tex"
    process = call("export", "--output", str(tmp_path), "--format", "tex", "--paper", "--file", str(target))
    assert (process.returncode, process.stdout, process.stderr) == (0, f"written to {target}\n", "")
    lines = [line for line in target.read_text().splitlines() if "ORD" in line]
    assert [line.split("&")[3].strip() for line in lines] == ["0.100", "0.593"]
    best.write_best(tmp_path / "best.json", document(dataset="demo"))
    note = call("export", "--output", str(tmp_path), "--paper")
    assert note.returncode == 0
    assert "publishes nothing for ord on demo" in note.stderr


def test_export_of_several_searches_and_of_the_store(tmp_path):
    for loss, prune in (("ord", None), ("tcd", None), ("ord", 97)):
        made = document(loss=loss, prune=prune)
        best.write_best(tmp_path / "runs" / f"{loss}-{prune}" / "best.json", made)
        store.update(Result.read(made, "test"), tmp_path / "store")
    together = call("export", "--output", str(tmp_path / "runs"))
    singly = [f"--output={tmp_path / 'runs' / name}" for name in ("ord-None", "tcd-None", "ord-97")]
    stored = call("export", "--dataset", "pemsd7", KDSEARCH_STORE=str(tmp_path / "store"))
    assert "L_ORD" in together.stdout
    assert "L_TCD" in together.stdout
    assert "97%" in together.stdout
    assert together.stdout == call("export", *singly).stdout == stored.stdout
    missing = one_error(call("export", "--dataset", "pemsd", KDSEARCH_STORE=str(tmp_path / "store")))
    assert "did you mean pemsd7?" in missing


def test_export_without_a_result_says_what_to_do(tmp_path):
    assert "--dataset NAME" in one_error(call("export"))
    assert "no such file or folder" in one_error(call("export", "--output", str(tmp_path / "absent")))
    (tmp_path / "study.journal").touch()
    assert "--resume" in one_error(call("export", "--output", str(tmp_path)))
    (tmp_path / "best.json").write_text("{")
    assert "not JSON" in one_error(call("export", "--output", str(tmp_path)))
    best.write_best(tmp_path / "best.json", document())
    assert "--table 2 shows them" in one_error(call("export", "--output", str(tmp_path), "--table", "3"))
    blocked = call("export", "--output", str(tmp_path), "--file", str(tmp_path / "best.json" / "x.md"))
    assert "cannot be written" in one_error(blocked)


def test_the_help_names_every_loss(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tune.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f" {name}" in shown for name in losses.names())
