"""Results that outlive their networks: written, added to, shown again, and refused when they are something else."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from experiments.reproduce import figure3, shipping
from experiments.reproduce.__main__ import main
from experiments.reproduce.kept import Record, keep
from experiments.reproduce.plans import plan_rows, tasks_of
from experiments.reproduce.records import read_records, write_records
from experiments.reproduce.rows import ROWS
from experiments.reproduce.runner import run
from experiments.reproduce.settings import Settings
from experiments.reproduce.study import Study
from kdsearch import command
from kdsearch.data.simulate import simulate
from kdsearch.errors import UserError
from kdsearch.results import store
from kdsearch.results.result import Figure, Result

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
FIGURES = {f"{m}_{t}": t / 10 for t in (15, 30, 45) for m in ("mae", "rmse", "mape")}
LENGTHS = "--seeds 3 --epochs 2 --teacher-epochs 2 --teachers 2"


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    made = simulate(4, 4, seed=1)
    np.savetxt(tmp_path / "speeds.csv", made.speeds.reshape(-1, 4), "%.1f", ",")
    np.savetxt(tmp_path / "distances.csv", made.distances, "%.1f", ",")
    (tmp_path / "own.toml").write_text(TOML)
    return tmp_path / "own.toml"


@pytest.fixture
def study(declared: Path) -> Study:
    """Every row of the table of students, with figures that the test chooses in place of trained ones."""
    settings = Settings(
        str(declared),
        tables=("shipping",),
        seeds=3,
        epochs=2,
        teacher_epochs=2,
        teachers=2,
        cache_dir=declared.parent / "cache",
        store=declared.parent / "store",
    )
    plans = plan_rows(shipping.ROWS, settings)
    tasks = tasks_of(plans, settings)
    records = {}
    for at, (key, task) in enumerate(tasks.items()):
        worse = 1.0 + 0.01 * at + ((0.1 + 0.003 * at) * task.seed**2 if task.row.seeded else 0.0)
        told = {name: worse * value for name, value in FIGURES.items()}
        records[key] = Record(task.seed, {"score": told["mae_30"], **told}, told, seconds=1.0)
    return Study(settings, plans, tasks, records)


def call(declared: Path, more: str) -> int:
    folder = declared.parent
    where = f"--dataset {declared} --cache-dir {folder / 'cache'} --store {folder / 'store'} --output {folder / 'out'}"
    figures = "" if "--figures" in more else "--figures none"
    return command.run(main, f"{where} {figures} {LENGTHS} {more}".split())


def test_rows_share_their_trainings(study: Study) -> None:
    keys = list(study.tasks)
    assert [key for key in keys if "teacher" in key] == ["teacher", "best-teacher", "best-teacher seed 1"]
    assert study.tasks["best-stcd seed 1"].waits == ("best-teacher",)
    assert study.tasks["best-stcd-mean seed 1"].waits == ("best-teacher", "best-teacher seed 1")
    # Table 4 trains the very same.
    four = replace(study.settings, tables=(4,))
    plans = plan_rows([ROWS["best-stcd"]], four)
    others = tasks_of(plans, four)
    assert {key: task.path for key, task in others.items()}.items() <= {
        k: t.path for k, t in study.tasks.items()
    }.items()
    # Whatever decides a result is in the name of its file.
    for change in ({"teachers": 3}, {"teacher_epochs": 3}):
        changed = tasks_of(plan_rows(shipping.ROWS, s), s) if (s := replace(study.settings, **change)) else {}
        assert changed["best-stcd-mean seed 1"].path != study.tasks["best-stcd-mean seed 1"].path
        assert changed["best-mean"].path != study.tasks["best-mean"].path
        assert changed["none seed 1"].path == study.tasks["none seed 1"].path


def test_between_a_student_and_that_without_kd_the_kd_alone_differs(study: Study) -> None:
    without, told, mean = (study.plans[key].params for key in ("best-none", "best-stcd", "best-stcd-mean"))
    assert told == mean
    assert set(told.values) - set(without.values) == {"alpha1", "alpha2", "alpha3"}
    assert without.values.items() <= told.values.items()
    assert without.source == told.source == "known point of default.toml"
    assert without.values["learning_rate"] > 1e-3
    (fit,) = {replace(task.fit, seed=0) for task in study.tasks_of(ROWS["best-none"])}
    assert (fit.batch_size, fit.learning_rate) == (told.values["batch_size"], told.values["learning_rate"])
    assert study.plans["none"].params.source == "protocol"


def test_students_are_compared_within_seeds(study: Study) -> None:
    rows = list(csv.DictReader(shipping.tests(study).splitlines()))
    assert [(row["row"], row["against"]) for row in rows] == list(shipping.PAIRS)
    for row in rows:
        sides = [
            [np.mean([r.test[f"mae_{m}"] for m in (15, 30, 45)]) for r in study.records_of(ROWS[row[name]])]
            for name in ("row", "against")
        ]
        assert float(row["gain"]) == pytest.approx(np.mean(np.subtract(*reversed(sides))))
        assert float(row["p"]) == pytest.approx(stats.ttest_rel(*sides).pvalue)
    table = shipping.build(study)
    assert [row["models"] for row in table.rows] == [row.label for row in shipping.ROWS]
    best = study.figure(ROWS["none"], "mae_15").mean / study.records["teacher"].test["mae_15"]
    assert "Best student by validation: Student without KD, below copy-last by " in table.notes[-1]
    assert f"{best:.3f} / {best:.3f} / {best:.3f} times the MAE of the best single teacher" in table.notes[-1]


def test_tables_are_made_of_records_alone(study: Study, declared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = declared.parent / "records.jsonl"
    write_records(file, study.tasks, study.records)
    assert call(declared, f"--tables shipping --records {file}") == 0
    assert f"{len(study.tasks)} trainings: 0 in the cache, {len(study.tasks)} in {file}, 0 to do" in (
        capsys.readouterr().out
    )
    out = declared.parent / "out"
    rows = list(csv.DictReader((out / "shipping.csv").read_text().splitlines()))
    assert [row["mae_15"] for row in rows] == [str(study.figure(row, "mae_15").mean) for row in shipping.ROWS]
    assert (out / "records.jsonl").read_text() == file.read_text()
    assert {"shipping.md", "shipping.tex", "shipping.png", "shipping-tests.csv"} <= {p.name for p in out.iterdir()}


@pytest.mark.parametrize(
    ("drawn", "lost", "again"),
    [
        ((), (), set()),
        # A figure draws from the networks of a row and of its teacher.
        (("best-stcd",), (), {"best-teacher", "best-stcd seed 1", "best-stcd seed 2", "best-stcd seed 3"}),
        # What is trained again needs the network of its teacher.
        ((), ("stcd seed 1",), {"teacher", "stcd seed 1"}),
        ((), ("none seed 1", "copy_last"), {"none seed 1", "copy_last"}),
    ],
)
def test_only_networks_that_are_needed_are_trained_again(
    drawn: tuple[str, ...], lost: tuple[str, ...], again: set[str], study: Study, tmp_path: Path
) -> None:
    file = tmp_path / "records.jsonl"
    write_records(file, study.tasks, {key: record for key, record in study.records.items() if key not in lost})

    class Enough(Exception):
        """Before anything is trained."""

    def say(line: str) -> None:
        known = len(study.tasks) - len(again)
        assert line == f"{len(study.tasks)} trainings: 0 in the cache, {known} in {file}, {len(again)} to do"
        raise Enough

    with pytest.raises(Enough):
        run(study.plans, study.tasks, replace(study.settings, records=file), say, drawn)


def test_a_network_that_was_removed_is_trained_again(study: Study) -> None:
    """Its figures alone do not need it, a student that learns from it does."""
    for key, task in study.tasks.items():
        if key != "stcd seed 1":
            keep(task.path, study.records[key], {"w": torch.zeros(1)} if task.row.learns else {})
    told: list[str] = []

    class Enough(Exception):
        """Before anything is trained."""

    def say(line: str) -> None:
        told.append(line)
        raise Enough

    with pytest.raises(Enough):
        run(study.plans, study.tasks, study.settings, say)
    assert told == [f"{len(study.tasks)} trainings: {len(study.tasks) - 2} in the cache, 2 to do"]
    assert not study.tasks["teacher"].path.exists()
    assert study.tasks["best-teacher"].path.exists()


def test_hyperparameters_are_of_a_search_for_the_same(study: Study, declared: Path) -> None:
    dataset = study.dataset
    rows = [ROWS[key] for key in ("none", "kdis-97", "best-none", "best-stcd")]
    fields = {"n_parameters": 1, "test": {}, "seeds": (1,), "baselines": {}}

    def stored(loss: str, score: float, rate: float, prune: float | None = None, **search: object) -> Result:
        params = {"batch_size": 24, "learning_rate": rate, "alpha1": 0.1, "alpha2": 0.2, "alpha3": 0.3}
        params |= {} if prune is None else {"pruning_minibatch": 5, "stage_percent": 10.0}
        prints = {"protocol": f"{rate}", "data": dataset.fingerprint}
        return Result(
            dataset.name, loss, prune, params, validation={"score": Figure(score)}, fingerprint=prints, search=search,
            **fields,
        )  # fmt: skip

    for result in (
        stored("none", 3.0, 0.002, epochs=2),
        stored("stcd", 2.9, 0.003, recipe="best", epochs=9),
        stored("stcd", 2.8, 0.004, 97.0, criterion="kdis", start="teacher", epochs=2),
        stored("stcd", 2.7, 0.005, 97.0, criterion="taylor", start="teacher", epochs=2),
    ):
        assert store.update(result, study.settings.store)
    plans = plan_rows(rows, study.settings)
    rates = {key: plan.params.values["learning_rate"] for key, plan in plans.items()}
    assert rates == {"none": 0.002, "best-none": 0.003, "best-stcd": 0.003, "kdis-97": 0.004}
    assert {key: plan.fit.learning_rate for key, plan in plans.items() if key.endswith("none")} == {
        "none": 0.002,
        "best-none": 0.003,
    }
    sources = {key: plan.params.source for key, plan in plans.items()}
    longer = "store of searches (9 epochs)"
    assert sources == {**dict.fromkeys(plans, "store of searches"), "best-none": longer, "best-stcd": longer}


def test_a_teacher_that_failed_leaves_figure_3_to_the_others(study: Study) -> None:
    """Students that learn from none are still there, and have nothing to be drawn beside."""
    failed = replace(study, records={**study.records, "teacher": Record(0, error="diverged")})
    assert not failed.has_teacher(ROWS["none"])
    assert failed.has_teacher(ROWS["best-stcd"])
    alone = replace(failed, tasks={key: t for key, t in study.tasks.items() if t.row.key in ("none", "teacher")})
    with pytest.raises(UserError, match="no student and teacher of it are trained"):
        figure3.draw(alone)


def test_what_is_sampled_does_not_follow_the_free_memory(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdsearch.job.bank.free_memory", lambda: 10_000)
    assert tasks_of(plan_rows(shipping.ROWS, study.settings), study.settings) == study.tasks
    with pytest.raises(UserError, match="--bank-memory"):
        plan_rows(shipping.ROWS, replace(study.settings, bank_memory=10_000))


def test_what_is_not_finished_is_left_out(study: Study, declared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = declared.parent / "records.jsonl"
    done = {key: study.records[key] for key in ("teacher", "copy_last", "none seed 1", "none seed 2", "none seed 3")}
    write_records(file, study.tasks, {**done, "stcd seed 1": study.records["stcd seed 1"]})
    assert call(declared, f"--tables 5 --records {file} --show") == 0
    told = capsys.readouterr().out
    assert "| Student without KD" in told
    assert "| Student L_STCD" not in told
    assert "Left out (--skip, or not trained yet): Student L_ORD" in told
    # No network of Figure 3 can be drawn, and a time would be that of two commands at once.
    code = call(declared, f"--tables 1 --figures 4 --records {file} --show --skip teacher")
    told = capsys.readouterr().out
    assert code == 0
    assert "not drawn: --figures 4, shipping: none of the networks" in told
    assert not list((declared.parent / "cache").rglob("time-*.json"))


def test_records_are_added_to(study: Study, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    first, second, failed = list(study.records)[:3]
    write_records(file, study.tasks, {first: study.records[first]})
    others = {second: study.records[second], failed: Record(0, error="diverged")}
    write_records(file, study.tasks, others)
    assert read_records(file) == {study.tasks[key].path.stem: study.records[key] for key in (first, second)}
    assert all("training" in json.loads(line) for line in file.read_text().splitlines())


@pytest.mark.parametrize(
    ("content", "more", "says"),
    [
        ("", "--show", "none of these trainings is finished"),
        ('{"training": 1}', "--show", "not a records.jsonl as experiments.reproduce writes it"),
        ("[1]", "--show", "not a records.jsonl as experiments.reproduce writes it"),
        ("", "--show --records nowhere.jsonl", "--records nowhere.jsonl: cannot be read (No such file or directory)"),
        ("", "--tables 2 --skip rd_l2,rd_kl,skd,ord,tcd,scd,stcd,fitnet,at,nst,best-stcd", "--skip leaves none of its"),
        ("", "--bank-memory auto", "must not hang on what is free now"),
    ],
)
def test_refused(content: str, more: str, says: str, declared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = declared.parent / "records.jsonl"
    file.write_text(content)
    assert call(declared, f"--tables 5 --records {file} {more}") == 2
    assert says in capsys.readouterr().err
