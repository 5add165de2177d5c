"""The wheel outside the checkout: what it holds, and the whole way from own readings to a forecast with it."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kdsearch import fingerprint
from tests.conftest import ROOT
from tests.data.conftest import GRAPH, TOML

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert process.returncode == 0, process.stderr + process.stdout
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, whose dependencies are this one's; its folder of scripts."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, timeout=200)
    packages = next((folder / "lib").glob("python*/site-packages"))
    (packages / "rest.pth").write_text("\n".join(site.getsitepackages()))
    return folder / "bin"


def call(installed: Path, here: Path, *words: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "KDSEARCH_DATA", "KDSEARCH_STORE")}
    own = {"XDG_CACHE_HOME": str(here / "cache"), "XDG_DATA_HOME": str(here / "data"), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [str(installed / "kdsearch"), *words],
        cwd=here,
        env=clean | own | {"RAY_worker_niceness": "0"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert process.returncode == 0, process.stderr + process.stdout
    return process.stdout


def test_what_travels(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    modules = {name for name in tracked if name.startswith("kdsearch/")}
    spaces = {f"kdsearch/_{name}" for name in tracked if name.startswith("search_spaces/")}
    assert {"kdsearch/py.typed", "kdsearch/results/paper_tables.toml", "kdsearch/_search_spaces/demo.toml"} <= names
    assert {name for name in names if name.startswith("kdsearch/")} >= modules | spaces
    assert not {name for name in names if re.search(r"(^|/)(tests|experiments|\.ci|__pycache__)/", name)}
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    parts = ("kdsearch/", "search_spaces/", "experiments/", "tests/", "pyproject.toml", "README.md", "LICENSE")
    assert {name for name in tracked if name.startswith(parts)} <= held


def test_versions_and_help_from_elsewhere(installed: Path, tmp_path: Path) -> None:
    told = dict(line.split(" ", 1) for line in call(installed, tmp_path, "--version").splitlines())
    assert told == {**fingerprint.versions(), "code": fingerprint.code()}
    assert "--verbose" in call(installed, tmp_path, "tune", "--help")


def test_from_own_readings_to_a_forecast(installed: Path, tmp_path: Path) -> None:
    """The walk-through of the README with a loss of the recipes, short."""
    rng, t = np.random.default_rng(0), np.arange(96)[:, None]
    speeds = 50 + 12 * np.sin(2 * np.pi * (t / 24 + np.arange(3) / 9)) + rng.normal(0, 1, (96, 3))
    np.savetxt(tmp_path / "speeds.csv", speeds, delimiter=",", fmt="%.2f", header="a,b,c", comments="")
    (tmp_path / "graph.csv").write_text(GRAPH)
    (tmp_path / "my-sensors.toml").write_text(TOML)
    recipes = (ROOT / "kdsearch" / "RECIPES.md").read_text()
    (module,) = re.findall(r"```python\n(.*?)```", recipes, flags=re.DOTALL)
    (tmp_path / "my_losses.py").write_text(module)
    short = "--trials 2 --epochs 1 --teacher-epochs 1 --teacher-run-length 4 --confirm 1x1 --set batch_size=1000"
    told = call(
        installed, tmp_path, "tune", "--dataset", "my-sensors.toml", "--loss", "my_losses:Huber", *short.split()
    )
    assert "trial 1 finished after 1 epoch" in told
    run = "runs/my-sensors-my_losses-Huber"
    assert "my_losses:Huber" in call(installed, tmp_path, "export", "--output", run, "--table", "comparison")
    call(installed, tmp_path, "export", "--output", run, "--model", "pt2", "--file", "student.pt2")
    lines = (tmp_path / "speeds.csv").read_text().splitlines()
    (tmp_path / "recent.csv").write_text("\n".join([lines[0], *lines[-12:]]))
    forecasts = [
        call(installed, tmp_path, "predict", "--model", model, "--readings", "recent.csv").splitlines()
        for model in (run, "student.pt2")
    ]
    assert forecasts[0][0] == "minutes,a,b,c"
    numbers = [np.array([line.split(",") for line in forecast[1:]], dtype=float) for forecast in forecasts]
    assert numbers[0][:, 0].tolist() == [60.0 * k for k in range(1, 10)]
    np.testing.assert_allclose(numbers[0], numbers[1], atol=2e-3)
