"""``experiments.shipping`` on a small simulated freeway: trained once, shown again, resumed, and its statistics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments import shipping
from experiments.students.summary import better
from kdsearch import command
from kdsearch.data.simulate import simulate

TOML = """\
[speeds]
file = "speeds.csv"
[graph]
file = "distances.csv"
[split]
train = 2
validation = 1
test = 1
"""
LENGTHS = "--epochs 2 --seeds 2 --teachers 2 --set batch_size=100 --rows copy_last,ensemble,none_best,stcd_ensemble"


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    made = simulate(6, 4, seed=1)
    np.savetxt(tmp_path / "speeds.csv", made.speeds.reshape(-1, 6), "%.1f", ",")
    np.savetxt(tmp_path / "distances.csv", made.distances, "%.1f", ",")
    (tmp_path / "own.toml").write_text(TOML)
    return tmp_path / "own.toml"


def call(declared: Path, more: str = "") -> int:
    folder = declared.parent
    where = f"--dataset {declared} --cache-dir {folder / 'cache'} --output {folder / 'out'}"
    return command.run(shipping.main, f"{where} {LENGTHS} {more}".split())


@pytest.mark.long
def test_trains_once_and_shows_again(declared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(declared) == 0
    told = capsys.readouterr().out
    assert "paired over 2 seeds" in told
    summary = json.loads((declared.parent / "out" / "summary.json").read_text())
    assert set(summary["rows"]) == {"copy_last", "ensemble", "none_best", "stcd_ensemble"}
    assert summary["rows"]["stcd_ensemble"]["runs"] == 2
    assert summary["best_student"]["row"] in {"none_best", "stcd_ensemble"}
    results = sorted((declared.parent / "cache" / "shipping").iterdir())
    before = [(r.stat().st_mtime_ns, r.read_text()) for r in results]
    results[0].unlink()
    assert call(declared) == 0
    after = sorted((declared.parent / "cache" / "shipping").iterdir())
    assert after == results
    # What was lost is trained again, to the same figures; the rest is left alone.
    again = [(r.stat().st_mtime_ns, r.read_text()) for r in after]
    assert again[1:] == before[1:]
    lost, found = json.loads(before[0][1]), json.loads(again[0][1])
    assert lost["validation"] == found["validation"]
    assert call(declared, "--table") == 0
    assert capsys.readouterr().out.count("mean of the teachers, best") >= 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--epochs 1", "--epochs 1: the best recipe wants at least 2"),
        ("--rows nonne", "did you mean none?"),
        ("--set alpha9=1", "--set alpha9: the loss stcd has no hyperparameter alpha9"),
        ("--dataset nowhere", "nowhere"),
        ("--table", "the cache holds none of these runs"),
    ],
)
def test_refused(arguments: str, says: str, declared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(declared, arguments) == 2
    assert says in capsys.readouterr().err
    assert not (declared.parent / "out").exists()


def test_pairs_are_compared_within_seeds() -> None:
    ours, theirs = [1.0, 2.0, 3.1], [1.2, 2.1, 3.4]
    found = better(ours, theirs)
    gains = np.subtract(theirs, ours)
    assert found["gain"] == pytest.approx(gains.mean())
    t = gains.mean() / (gains.std(ddof=1) / np.sqrt(3))
    assert found["p"] == pytest.approx(2 * stats.t.sf(t, 2))
    assert better(ours[:1], theirs[:1])["p"] is None
