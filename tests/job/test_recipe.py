"""``--recipe best`` from the command to best.json and back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kdsearch import command, train, tune
from kdsearch.job.plan import check
from kdsearch.job.settings import JobSettings
from kdsearch.training.checkpoint import Checkpoint, save_checkpoint
from kdsearch.training.network import new_network
from kdsearch.training.reference import path_of
from tests.conftest import ROOT
from tests.faults.bad_calls import sound
from tests.job.test_pruned_search import ENVIRONMENT

LENGTHS = (
    "--dataset corner.toml --space space.toml --recipe best --teachers 2 "
    "--trials 2 --epochs 1 --teacher-epochs 1 --confirm 1x1 --set batch_size=100"
)


def keep_teachers(folder: Path, cache: Path) -> None:
    """Two untrained ones, where the command looks for trained ones: an epoch through the roll-out takes minutes."""
    asked = JobSettings(
        dataset=str(folder / "corner.toml"), recipe="best", teachers=2, epochs=1, teacher_epochs=1, cache_dir=cache
    )
    plan = check(asked, search=False)
    data, layout = plan.dataset, plan.layout("teacher")
    for fit in plan.teachers:
        weights = new_network(data, layout, fit.seed).state_dict()
        kept = Checkpoint(layout.blocks, weights, data.name, data.fingerprint, 1, {"score": 9.0}, 1.0, layout=layout)
        save_checkpoint(path_of(cache, data, "teacher", layout, fit), kept)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--recipe beste", "did you mean best?"),
        ("--recipe best --teacher-epochs 1 --teacher-run-length 10", "trains none one step ahead"),
        ("--teachers 3 --loss fitnet", "--loss fitnet compares hidden channels"),
        ("--teachers 3 --loss none", "--loss none reads no teacher"),
        ("--teachers 3 --loss tcd --bank-memory 1MB", "the bank of their mean takes"),
    ],
)
def test_refused(
    arguments: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.run(tune.main, arguments.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("prune", "rates"),
    [(None, {"paper": [1e-3], "best": [5.2e-3, 6.9e-3, 3e-3]}), (97.0, {"paper": [1e-3], "best": [1e-3]})],
)
def test_the_first_trials_have_the_rates_of_the_recipe(prune: float | None, rates: dict[str, list[float]]) -> None:
    """A pruned network starts from a trained one and keeps the published rate."""
    for recipe, known in rates.items():
        plan = check(JobSettings(recipe=recipe, prune=prune), search=False)
        assert [point["learning_rate"] for point in plan.space.known] == known


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_search_with_the_recipe_and_its_winner_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in sound().items():
        (tmp_path / name).write_text(str(content))
    kept = ["--cache-dir", str(tmp_path / "cache")]
    keep_teachers(tmp_path, tmp_path / "cache")
    out = tmp_path / "out"
    arguments = [*LENGTHS.split(), *kept, "--store", str(tmp_path / "store"), "--output", str(out)]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "kdsearch.tune", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    best = json.loads((out / "best.json").read_text())
    protocol = best["protocol"]
    assert protocol["recipe"] == "best"
    for network in ("student", "teacher"):
        assert protocol[network]["persistence"]
        assert protocol[network]["rollout_steps"] == 9
        assert protocol[network]["optimizer"] == "adam"
    assert protocol["teachers"] == best["teacher"]["count"] == 2
    mean, single = (best["baselines"][name] for name in ("teachers_mean", "teacher"))
    assert mean["n_parameters"] == 2 * single["n_parameters"]
    assert mean["validation"]["score"]["std"] is None
    assert single["validation"]["score"]["std"] is not None
    again_arguments = ["--dataset", "corner.toml", "--params", str(out), *kept, "--output", str(tmp_path / "again")]
    again = subprocess.run(
        [sys.executable, "-m", "kdsearch.train", *again_arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    (run,) = json.loads((tmp_path / "again" / "result.json").read_text())["per_seed"]
    assert run["validation"] == best["per_seed"][0]["validation"]
    assert command.run(train.main, ["--params", str(out), "--recipe", "paper"]) == 2
    assert "was found with --recipe best; leave the option out" in capsys.readouterr().err
