"""The page about a search: what it says, that it is whole and safe, and that its numbers are right."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from kdsearch.errors import UserError
from kdsearch.models.stgcn import STUDENT
from kdsearch.results import paper
from kdsearch.results.page import outcome, parameters, trials, words
from kdsearch.results.page.document import Written, page_of, write_report
from kdsearch.results.page.forecasts import forecasts_of
from kdsearch.results.page.reading import Search, read_search
from kdsearch.search.study import open_study
from kdsearch.training.checkpoint import Checkpoint, save_checkpoint
from kdsearch.training.evaluate import evaluate
from kdsearch.training.network import new_network
from tests.results.searches import SETUP, SPACE, make_search, per_seed, score_of, write_document

NASTY = """<script>alert("x")</script><img src=x onerror='y'>&"""
VOID = {"meta", "br", "input", "link"}


class Page(HTMLParser):
    """A page taken apart: which elements it has, and whether each is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += f" {data}"

    def all(self, tag: str, class_: str = "") -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag and class_ in ["", *(a.get("class") or "").split()]]


def test_a_finished_search_from_end_to_end(tmp_path, make_document, demo):
    make_search(tmp_path)
    winner = read_search(tmp_path).winner
    document = make_document(
        dataset="demo",
        per_seed=per_seed(),
        confirmed=[{"trial": winner, "params": {}, "score": {"mean": 2.9, "std": 0.02}}],
        params={"batch_size": 25, "learning_rate": 0.002, "alpha1": 0.2},
        warnings=["the teacher is weak"],
    )
    write_document(tmp_path, document)
    save_network(tmp_path, demo)
    written = write_report(tmp_path, demo)
    assert written == Written(tmp_path / "report.html", None)
    text = written.path.read_text(encoding="utf-8")
    page = Page(text)
    assert_whole(page, text)
    sections = [a["id"] for a in page.all("section")]
    assert sections == ["summary", "best", "results", "search", "parameters", "forecasts", "run"]
    for title in (
        "History of the search",
        "Learning curves",
        "Rungs of ASHA",
        "Importance",
        "Timeline",
        "Hyperparameters and score",
        "Score by hyperparameter",
        "Errors on the test days",
        "Forecasts against measurement",
        "Map of the sensors",
    ):
        assert f"<h3>{title}</h3>" in text
    assert f"trial {winner}" in page.text
    assert "the teacher is weak" in page.text
    assert "python -m kdsearch.tune" in page.text
    # Each scored trial in every chart of trials, each sensor on both maps.
    scored = read_search(tmp_path).scored
    marks = Counter(a["data-t"] for _, a in page.elements if a.get("data-t"))
    assert {int(t) for t in marks} == {t.number for t in read_search(tmp_path).trials}
    charts = 1 + 1 + 2 + 2 + len(SPACE)  # history, curve and its end, timeline twice, parallel twice, slices
    assert all(marks[str(t.number)] >= charts for t in scored)
    assert Counter(a["data-s"] for _, a in page.elements if a.get("data-s")) == {str(i): 2 for i in range(30)}


def save_network(folder: Path, dataset: Any) -> Any:
    """An untrained student as the winner's checkpoint."""
    network = new_network(dataset, STUDENT, seed=3)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    checkpoint = Checkpoint(STUDENT, weights, dataset.name, dataset.fingerprint, 1, {}, 0.0)
    save_checkpoint(folder / "checkpoints" / "best.pt", checkpoint)
    return network.eval()


def assert_whole(page: Page, text: str) -> None:
    """One file that asks nobody for anything, whose links lead somewhere and whose drawings have names."""
    assert not re.search(r"https?://|//[a-z]+\.", text)
    assert not [a for _, a in page.elements if "src" in a or a.get("rel")]
    ids = Counter(a["id"] for _, a in page.elements if a.get("id"))
    assert set(ids.values()) == {1}
    links = [a["href"] for a in page.all("a")]
    assert links
    assert {link for link in links if link} == {f"#{i}" for i in ids if f"#{i}" in links}
    assert all(link and link.startswith("#") for link in links)
    for drawing in page.all("svg", "chart"):
        assert drawing["aria-label"]
        assert re.fullmatch(r"0 0 [\d.]+ [\d.]+", str(drawing["viewbox"]))
    assert not re.search(r'(?:cx|cy|x|y|x1|x2|y1|y2|d|points)="[^"]*(?:nan|inf|None)', text)
    assert len(page.all("table")) == text.count("<caption>")
    assert "/tmp/" not in text
    assert len(text) < 600_000


def test_numbers_on_the_page_are_those_of_the_search(tmp_path, make_document):
    make_search(tmp_path)
    search = read_search(tmp_path)
    best = min((t for t in search.scored if t.state != "FAIL"), key=lambda t: t.score)
    text = " ".join(words.sentences(search))
    assert f"trial {best.number} with a validation error of {best.score:.3f} mph" in text
    states = Counter(t.state for t in search.trials)
    assert (
        f"Of 20 trials, {states['COMPLETE']} ran to the end, {states['PRUNED']} were stopped early and 1 failed" in text
    )
    assert states["FAIL"] == 1
    assert best.score == pytest.approx(min(score_of(best.params, e) for e in best.curve))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_an_unfinished_search_has_a_page(tmp_path, count):
    make_search(tmp_path, trials=count, unfinished=count == 2)
    written = write_report(tmp_path)
    text = written.path.read_text(encoding="utf-8")
    page = Page(text)
    assert_whole(page, text)
    assert "not finished" in page.text
    assert "test MAE" not in page.text
    assert written.lacks
    assert "not finished" in written.lacks


def test_a_search_that_has_grown_is_not_finished(tmp_path, make_document):
    make_search(tmp_path, trials=6)
    write_document(tmp_path, make_document(dataset="demo", confirmed=[{"trial": 0, "score": {"mean": 9, "std": 0}}]))
    assert read_search(tmp_path).winner == 0
    study = open_study(tmp_path, SETUP, resume=True)
    trial = study.ask(SPACE)
    assert read_search(tmp_path).best is not None  # nothing has ended since
    study.tell(trial, 1.0)
    assert read_search(tmp_path).best is None


def test_a_pruned_search(tmp_path, make_document):
    # While its network is being pruned a trial has no score: its rung is its first epoch with one.
    def score(params, epoch):
        return math.inf if epoch < 3 else score_of(params, epoch)

    make_search(tmp_path, setup={"prune": "97", "grace": 3}, score=score)
    pruning = {"start": "base", "criterion": "kdis", "stages": 4}
    document = make_document(dataset="demo", prune=97.0, per_seed=per_seed(), pruning=pruning)
    document["confirmed"] = [{"trial": 0, "params": {}, "score": {"mean": 2.9, "std": 0.02}}]
    document["baselines"]["student_kd"] = {"test": {"mae_15": 2.0, "mae_30": 2.5, "mae_45": 3.0}, "n_parameters": 9}
    write_document(tmp_path, document)
    search = read_search(tmp_path)
    (rung,) = trials.rungs_of(search)
    assert rung.epoch == 3
    text = page_of(search, None, "no data")
    page = Page(text)
    assert_whole(page, text)
    assert "pruned by 97%" in page.text
    assert "predetermined student with KD" in page.text
    assert "base model" in page.text


@pytest.mark.parametrize("cost", ["parameters", "latency"])
def test_a_front(tmp_path, make_document, cost):
    make_search(tmp_path, setup={"objectives": 2, "cost": cost, "prune": "pareto"}, costs=True)
    points = [
        make_document(
            2.9 + k / 10,
            dataset="demo",
            prune=90.0 - k,
            n_parameters=5000 - k,
            cost={"parameters": 5000 - k, "forward_ms": 3.0 - k},
        )
        for k in (0, 1)
    ]
    text = page_of(read_search(tmp_path), None, "")
    assert "The front" in text  # also before it has finished
    write_document(tmp_path, {"schema": 1, "cost": cost, "points": points, "baselines": {}}, "front.json")
    write_document(tmp_path, points[0] | {"confirmed": [{"trial": 0, "score": {"mean": 1, "std": None}}]})
    text = page_of(read_search(tmp_path), None, "")
    page = Page(text)
    assert_whole(page, text)
    assert "Search for a front" in page.text
    assert "retrained (2)" in page.text
    assert "2 points along the front were trained again, from 4,999 to 5,000 parameters" in page.text
    assert "point with the lowest validation error, trial 0" in page.text
    assert "On the front" in page.text


def test_the_cheap_end_of_a_front_is_on_its_axis(tmp_path, make_document):
    """Small networks have the highest errors, and are no outliers that stand at the upper end."""
    make_search(tmp_path, setup={"objectives": 2, "cost": "parameters", "prune": "pareto"}, costs=True)
    cheap = make_document(9.0, dataset="demo", prune=99.0, n_parameters=10, cost={"parameters": 10, "forward_ms": 1.0})
    good = make_document(2.9, dataset="demo", prune=90.0, n_parameters=5000, cost={"parameters": 5000, "forward_ms": 3})
    write_document(
        tmp_path, {"schema": 1, "cost": "parameters", "points": [good, cheap], "baselines": {}}, "front.json"
    )
    write_document(tmp_path, good | {"confirmed": [{"trial": 0, "score": {"mean": 1, "std": None}}]})
    drawn = str(outcome.front(read_search(tmp_path)))
    wide = drawn[: drawn.index("</svg>")]
    bars = [(float(a), float(b)) for a, b in re.findall(r'bar-line winner"[^>]* y1="([\d.]+)" y2="([\d.]+)"', wide)]
    assert len(bars) == 2
    assert all(low > high for low, high in bars)


def test_an_unfinished_pruning_stands_beside_the_papers_pruning(tmp_path):
    make_search(tmp_path, setup={"dataset": "pemsd7", "prune": "97"})
    text = Page(page_of(read_search(tmp_path), None, "")).text
    assert "pruned by 97%" in text
    assert "paper" in text
    published = paper.hyperparameters("pemsd7", "stcd", 97.0)
    assert f" {published['alpha1']:g} " in text


def test_figures_that_are_not_there_do_not_end_the_page(tmp_path, make_document):
    make_search(tmp_path)
    document = make_document(dataset="demo", per_seed=per_seed())
    for figures in (document["test"], *(run["test"] for run in document["per_seed"])):
        for name in figures:
            figures[name] = {"mean": None, "std": None} if figures is document["test"] else None
    write_document(tmp_path, document)
    assert_whole(Page(text := page_of(read_search(tmp_path), None, "")), text)


def test_whatever_is_read_is_escaped(tmp_path, make_document):
    space = {**SPACE, NASTY: SPACE["alpha1"], "kind": optuna.distributions.CategoricalDistribution((NASTY, "b"))}
    folder = tmp_path / "a <b> & 'c'"
    make_search(folder, setup={"dataset": NASTY, "loss": NASTY, "sampler": NASTY}, space=space)
    document = make_document(dataset=NASTY, loss=NASTY, command=NASTY, warnings=[NASTY], per_seed=per_seed())
    document["params"] = {NASTY: NASTY}
    document["confirmed"] = [{"trial": 1, "params": {}, "score": {"mean": 2.9, "std": 0.02}}]
    document["fingerprint"]["versions"] = {NASTY: NASTY}
    document["baselines"][NASTY] = {"test": {"mae_15": 2.0}, "validation": {}}
    write_document(folder, document)
    text = page_of(read_search(folder), None, NASTY)
    page = Page(text)
    assert page.text.count("alert(") >= 8
    assert "<script>alert" not in text
    assert not page.all("img")
    assert not [a for _, a in page.elements if "onerror" in a]
    assert len(page.all("script")) == 2  # the data of the trials, and the page's own
    data = next(s for s in re.findall(r'<script type="application/json" id="trials">(.*?)</script>', text))
    assert any(NASTY in line for lines in json.loads(data).values() for line in lines)


def test_rungs_are_those_of_the_scheduler(tmp_path):
    from kdsearch.search.scheduler import make_scheduler
    from kdsearch.search.study import progress, read_study

    make_search(tmp_path, trials=40)
    search = read_search(tmp_path)
    kept = [t for t in read_study(tmp_path).get_trials() if t.state.name != "FAIL"]
    asha = make_scheduler("asha", 9, 1, 3, 0, [(t.number, progress(t)) for t in kept])
    booked = {int(epoch): values for epoch, values in asha.rungs[0].items() if epoch < 9}
    found = trials.rungs_of(search)
    assert {r.epoch for r in found} == set(booked) == {1, 3}
    for rung in found:
        everyone = (*rung.passed, *rung.stopped, *rung.waiting)
        assert {str(t.number): v for t, v in everyone} == pytest.approx(booked[rung.epoch])
        assert {t.number for t, _ in rung.stopped} == {
            t.number for t in search.trials if t.state == "PRUNED" and t.epochs == rung.epoch
        }
    assert all(r.stopped for r in found)
    assert not trials.rungs_of(Search("x", {**search.setup, "scheduler": "median"}, search.trials, {}))


def test_importance_finds_what_matters(tmp_path):
    make_search(tmp_path, trials=60)
    found = parameters.importances(read_search(tmp_path))
    assert set(found) == set(SPACE)
    assert sum(found.values()) == pytest.approx(1)
    assert next(iter(found)) == "learning_rate"
    assert found["learning_rate"] > 0.6


def test_importance_is_silent_with_few_trials(tmp_path):
    make_search(tmp_path, trials=parameters.LEAST)  # one of them failed
    assert parameters.importances(read_search(tmp_path)) == {}


def test_the_command_keeps_no_folders():
    told = words.without_folders(
        "python -m kdsearch.tune --output /home/me/runs/x --set a=1 --cache-dir=/c/d --data-dir e/f"
    )
    assert told == "python -m kdsearch.tune --output …/x --set a=1 --cache-dir=…/d --data-dir e/f"


def test_errors_by_sensor_are_those_of_the_evaluation(tmp_path, demo):
    network = save_network(tmp_path, demo)
    found = forecasts_of(tmp_path, demo)
    figures = evaluate(network, demo, "test")
    for minutes, errors in found.errors.items():
        assert errors.mean() == pytest.approx(figures[f"mae_{minutes}"], rel=1e-5)
    worst = found.errors[45].argmax()
    assert "largest error" in next(d.why for d in found.days if d.sensor == worst)
    assert [d.sensor for d in forecasts_of(tmp_path, demo, (5, 2)).days] == [5, 2]
    day = next(d for d in found.days if d.sensor == worst)
    np.testing.assert_array_equal(day.truth, demo.days("test")[day.day - 1, :, worst])
    with pytest.raises(UserError, match="sensors 0 to 29, there is no 30"):
        forecasts_of(tmp_path, demo, (30,))


def test_without_the_dataset_the_page_says_so(tmp_path, make_document):
    make_search(tmp_path, setup={"dataset": "elsewhere"})
    write_document(tmp_path, make_document(dataset="elsewhere"))
    written = write_report(tmp_path)
    assert "--dataset" in str(written.lacks)
    assert "was not at hand" in written.path.read_text(encoding="utf-8")
    with pytest.raises(UserError, match="unknown dataset"):
        write_report(tmp_path, "nowhere")


def test_a_folder_without_a_search_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no search"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        write_report(tmp_path / "x")


def test_a_report_that_fails_loses_nothing(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from kdsearch.job import run

    said: list[str] = []
    plan = SimpleNamespace(search=SimpleNamespace(output=tmp_path / "a b"), dataset=None)
    assert run._report(plan, said.append) is False  # there is no such folder
    (line,) = said
    assert line.startswith("warning: report.html could not be written (UserError")
    assert line.endswith(f"python -m kdsearch.report --output '{tmp_path}/a b'")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kdsearch.results.page.document.write_report", interrupted)
    assert run._report(plan, said.append) is False
    assert "interrupted" in said[-1]
