"""What the READMEs say holds: commands, options, links, tables and snippets are checked against the code."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from kdsearch.command import settings
from kdsearch.data import load
from kdsearch.distillation import losses
from kdsearch.distillation.losses import base
from kdsearch.errors import UserError
from kdsearch.models.stgcn import Features
from kdsearch.search import space

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    "README.md",
    "kdsearch/README.md",
    "kdsearch/clusters.md",
    "kdsearch/RECIPES.md",
    "experiments/README.md",
    "experiments/best/README.md",
    "search_spaces/README.md",
]
COMMANDS = ("tune", "train", "export", "predict", "report", "compare")
EXPERIMENTS = (
    "experiments.picture",
    "experiments.reproduce",
    "experiments.simulated",
    "experiments.benchmarks.endurance",
    "experiments.benchmarks.step",
    "experiments.benchmarks.forward",
    "experiments.benchmarks.recipes",
    "experiments.benchmarks.scale",
    "experiments.benchmarks.gpu",
    "experiments.benchmarks.search",
)
MODULES = (*(f"kdsearch.{name}" for name in COMMANDS), *EXPERIMENTS)

# How a docstring marks an interpretation of the paper.
MARK = re.compile(r"(?<!\w)\(readings?[,:)]")


def parser_of(module: str) -> argparse.ArgumentParser:
    """Of a command that is a module or a package."""
    found = importlib.import_module(module)
    if hasattr(found, "__path__"):
        found = importlib.import_module(f"{module}.__main__")
    parser: argparse.ArgumentParser = found.parser()
    return parser


def text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    """The contents of fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text(document), flags=re.MULTILINE | re.DOTALL)


def prose(document: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text(document), flags=re.MULTILINE | re.DOTALL)


def section(document: str, heading: str) -> str:
    """What stands under a heading, down to the next one of its rank or above."""
    rank = len(heading) - len(heading.lstrip("#"))
    _, found, rest = text(document).partition(f"\n{heading}\n")
    assert found, f"{document} has no heading {heading!r}"
    return re.split(rf"^#{{1,{rank}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(part: str) -> list[list[str]]:
    """Cells of a section's table rows, without its head."""
    lines = [line for line in part.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]
    return [row for row in cells if not set("".join(row)) <= set("-: ")][1:]


def spans(part: str) -> list[str]:
    return re.findall(r"`([^`]+)`", part)


def command_lines() -> list[str]:
    found = []
    for document in DOCUMENTS:
        for block in blocks(document, "console"):
            found += [piece.strip() for line in block.splitlines() for piece in line.split("&&")]
    return list(dict.fromkeys(line for line in found if line))


def options(name: str) -> dict[str, argparse.Action]:
    parser = importlib.import_module(f"kdsearch.{name}").parser()
    return {option: action for action in parser._actions for option in action.option_strings}


@pytest.fixture(scope="module")
def own_losses(tmp_path_factory):
    """The module that the recipes show, where it can be imported."""
    folder = tmp_path_factory.mktemp("own")
    (module,) = blocks("kdsearch/RECIPES.md", "python")
    (folder / "my_losses.py").write_text(module, encoding="utf-8")
    sys.path.append(str(folder))
    yield folder
    sys.path.remove(str(folder))
    base._registry.pop("huber", None)  # or later tests would look for it in the spaces


def test_there_is_something_to_check():
    assert len(command_lines()) > 15
    assert blocks("README.md", "python")
    assert blocks("README.md", "toml")


@pytest.mark.parametrize("line", command_lines())
def test_every_command_is_one_that_works(line, own_losses):
    words = shlex.split(line)
    if words[:2] == ["python", "-m"] and words[2] in MODULES:
        module = importlib.import_module(words[2])
        if not hasattr(module, "parser"):  # a package that is run
            module = importlib.import_module(f"{words[2]}.__main__")
        parsed = module.parser().parse_args(words[3:])
        settings(getattr(parsed, "fixed", []))
        if getattr(parsed, "loss", None) is not None:
            losses.get(parsed.loss)
            if ":" in parsed.loss:
                found = space.load(space.find(parsed.dataset), parsed.loss)
                assert {h.name for h in losses.hyperparameters(parsed.loss)} < set(found.names)
        dataset = str(getattr(parsed, "dataset", None))
        if dataset.startswith("experiments/"):
            assert (ROOT / dataset).is_file()
    elif words[:3] == ["pip", "install", "-e"]:
        (target,) = words[3:]
        extras = re.fullmatch(r"\.(?:\[(.+)\])?", target)
        assert extras is not None
        known = tomllib.loads(text("pyproject.toml"))["project"]["optional-dependencies"]
        assert set((extras[1] or "").split(",")) - {""} <= set(known)
    elif words[0] == "export":
        (assignment,) = words[1:]
        name = assignment.partition("=")[0]
        code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "kdsearch").rglob("*.py"))
        assert f'"{name}"' in code
    else:
        assert line in ("python -m venv .venv", ". .venv/bin/activate", "python -m pytest")


def test_the_loss_of_the_recipes_is_one(own_losses):
    """It takes a step, and results of another text of it do not compare."""
    loss = losses.build("my_losses:Huber", delta=1.0, share=0.5)
    student, teacher = (Features(torch.full((2, 3), value, requires_grad=True), [], []) for value in (1.0, 3.0))
    terms = loss(student, teacher, torch.zeros(2, 3))
    assert float(terms.total.detach()) == pytest.approx(0.5 * 0.5**2)
    terms.total.backward()
    assert student.prediction.grad is not None
    before = losses.protocol_of("my_losses:Huber")
    file = own_losses / "my_losses.py"
    text_before = file.read_text()
    file.write_text(text_before + "# another\n")
    assert losses.protocol_of("my_losses:Huber") != before
    file.write_text(text_before)
    assert losses.protocol_of("my_losses:Huber") == before
    assert losses.protocol_of("stcd") == {}


def test_a_space_for_a_loss_of_ones_own(own_losses, tmp_path):
    declared = space.load(space.find("default"), "my_losses:Huber")
    assert [dict(p) for p in declared.known] == [{"batch_size": 50, "learning_rate": 0.001, "delta": 1.0, "share": 0.3}]
    common = "[common]\nbatch_size = { choices = [16] }\nlearning_rate = { low = 1e-3, high = 1e-2 }\n"
    file = tmp_path / "s.toml"
    file.write_text(f"{common}[huber]\ndelta = {{ low = 0.5, high = 2.0 }}\nshare = {{ low = 0.1, high = 0.2 }}\n")
    found = {p.name: (p.low, p.high) for p in space.load(file, "my_losses:Huber").parameters}
    assert found["delta"] == (0.5, 2.0)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("my_loses:Huber", "there is no module my_loses here"),
        ("my_losses:Hubert", "did you mean Huber"),
        ("my_losses:F", "is no loss"),
        ("my losses:Huber", "wants module:Class"),
    ],
)
def test_a_loss_of_ones_own_that_is_none(name, told, own_losses):
    with pytest.raises(UserError, match=told):
        losses.get(name)


def test_scripts_of_the_recipes(own_losses):
    (script,) = blocks("kdsearch/RECIPES.md", "bash")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    (line,) = [line for line in script.splitlines() if not line.startswith("#")]
    words = shlex.split(line)
    assert words[:3] == ["exec", "python", "-m"]
    assert parser_of(words[3]).parse_args(words[4:]).resume


def test_the_two_commands_for_a_fresh_machine():
    first, second = blocks("README.md", "console")[:2]
    start = "python -m venv .venv && . .venv/bin/activate && pip install -e"
    assert first == f"{start} . && python -m kdsearch.tune\n"
    assert second == f'{start} ".[dev]" && python -m pytest\n'


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_all_described_and_no_others(name):
    part = section("README.md", f"### {name}").split("\n#### ")[0]
    known = options(name)
    told = {word for row in rows(part) for word in re.findall(r"--[a-z-]+", row[0])}
    assert told == set(known) - {"-h", "--help"}
    for row in rows(part):
        (option,) = re.findall(r"--[a-z-]+", row[0])
        action = known[option]
        takes = re.sub(r"\\", "", spans(row[0])[0]).removeprefix(option).strip()
        assert bool(takes) == (action.nargs != 0), f"{option}: {takes!r}"
        for choice in action.choices or ():
            assert f"`{choice}`" in "|".join(row), f"{option}: {choice} is not told"
        if isinstance(action.default, str):
            assert f"`{action.default}`" in row[1], f"{option}: its default is {action.default}"
    assert {"`-h`", "`--help`"} <= {f"`{span}`" for span in spans(section("README.md", "## All options"))}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_options_in_the_prose_exist(document):
    known = {option for name in COMMANDS for option in options(name)}
    parsers = [parser_of(name) for name in EXPERIMENTS]
    known |= {option for parser in parsers for action in parser._actions for option in action.option_strings}
    assert set(re.findall(r"(?<![-\w])--[a-z][a-z-]*", prose(document))) <= known | {"--logdir", "--version"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        assert "://" not in target
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


def test_readings_are_all_listed_and_where_they_say():
    places = [row[-1] for row in rows(section("kdsearch/README.md", "## Readings of the paper"))]
    assert len(places) >= 10
    for place in places:
        module, *names = spans(place)
        source = (ROOT / "kdsearch" / module).read_text(encoding="utf-8")
        for name in names:
            assert re.search(rf"^(class|def) {name}\b", source, flags=re.MULTILINE), f"{module}: {name}"
        assert MARK.search(source)
    rooms = re.findall(r"^([a-z]+) ", blocks("kdsearch/README.md", "text")[0], flags=re.MULTILINE)
    assert {"distillation", "training", "search"} <= set(rooms)
    marked = {
        str(path.relative_to(ROOT / "kdsearch"))
        for room in rooms
        for path in (ROOT / "kdsearch" / room).rglob("*.py")
        if MARK.search(path.read_text(encoding="utf-8"))
    }
    assert marked <= {spans(place)[0] for place in places}


def test_losses_are_all_described():
    told = {spans(row[0])[0]: set(spans(row[-1])) for row in rows(section("README.md", "## Losses"))}
    own = [name for name in losses.names() if losses.get(name).__module__.startswith("kdsearch.")]
    assert told == {name: {h.name for h in losses.hyperparameters(name)} for name in own}


def test_columns_of_the_trial_table_are_described_and_no_others(tmp_path):
    import pandas as pd

    from kdsearch.contents import TRIALS
    from tests.results.searches import SPACE, make_search

    told = section("README.md", "## What you get")
    told = {span for row in rows(told[told.index("| column |") :]) for span in spans(row[0])}
    make_search(tmp_path, costs=True)
    columns = set(pd.read_parquet(tmp_path / TRIALS).columns)
    assert {f"params.{name}" for name in SPACE} <= columns
    figures = {name for name in columns if name.startswith("val_")}
    assert figures == {f"val_{m}_{minutes}" for m in ("mae", "rmse", "mape") for minutes in (15, 30, 45)}
    assert told == {name for name in columns if not name.startswith(("val_", "params."))} | {"params.*", "val_*"}


def test_the_declared_sensors_load(tmp_path):
    (declaration,) = blocks("README.md", "toml")
    (tmp_path / "my-sensors.toml").write_text(declaration, encoding="utf-8")
    rng = np.random.default_rng(0)
    np.savetxt(tmp_path / "speeds.csv", rng.uniform(40, 110, (28 * 288, 4)), delimiter=",", fmt="%.1f")
    place = rng.uniform(0, 5, 4)
    np.savetxt(tmp_path / "distances.csv", abs(place[:, None] - place), delimiter=",")
    dataset = load(tmp_path / "my-sensors.toml")
    assert (dataset.name, dataset.n_nodes, dataset.split.total) == ("my-sensors", 4, 28)
    assert dataset.speeds.max() < 70  # km/h became mph
    assert dataset.weights[0].any()


def test_the_search_space_shown_is_one(tmp_path):
    (shown,) = blocks("search_spaces/README.md", "toml")
    file = tmp_path / "space.toml"
    file.write_text(shown, encoding="utf-8")
    assert {p.name for p in space.load(file, "stcd").parameters} >= {h.name for h in losses.hyperparameters("stcd")}


@pytest.mark.parametrize("snippet", blocks("README.md", "python"))
def test_snippets_run(snippet, tmp_path):
    process = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "mae_45" in process.stdout


@pytest.mark.parametrize("document", DOCUMENTS)
def test_plain_prose(document):
    assert not set("\u2013\u2014") & set(text(document))
    assert all(len(line) <= 120 for line in prose(document).splitlines() if not line.startswith(("|", "!")))
