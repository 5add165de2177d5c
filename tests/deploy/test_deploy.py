"""Exported students: what they hold, how they are checked, and what a forecast from a file gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdsearch import command, export, predict
from kdsearch.data import Dataset, Split, Windows
from kdsearch.data.declaration import MPH
from kdsearch.data.site import Site
from kdsearch.deploy import write
from kdsearch.deploy.agreement import TOLERANCE, Agreement, agreement, readings_like
from kdsearch.deploy.folded import Folded
from kdsearch.deploy.forecaster import Forecaster
from kdsearch.deploy.models import open_model
from kdsearch.deploy.student import Student, load_student
from kdsearch.deploy.write import KINDS, write_student
from kdsearch.errors import UserError
from kdsearch.models.stgcn import BASE, STGCN, STUDENT
from kdsearch.pruning import compact
from kdsearch.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from kdsearch.training.network import layout_of, new_network
from tests.pruning.conftest import randomise

NAMES = [f"loop {i}" for i in range(6)]


def corner(unit: str = "km/h", missing: str = "zero", **more: Any) -> Dataset:
    """Six sensors in a row."""
    t = np.arange(5 * 144).reshape(5, 144, 1)
    speeds = 50 + 15 * np.sin(2 * np.pi * (t - 2 * np.arange(6)) / 144)
    weights = 0.8 * np.eye(6, k=1) + 0.8 * np.eye(6, k=-1)
    return Dataset(
        "corner", speeds.astype(np.float32), weights, Split(3, 1, 1), "default", unit=unit, missing=missing, **more
    )


def pruned(data: Dataset) -> STGCN:
    """A layout with every kind of residual: mapped, shifted, left out."""
    whole = randomise(new_network(data, BASE, seed=1))
    return compact(whole, {"block1.mid": [1, 4], "block1.out": [0, 3, 9], "head.glu": [1, 2]}).eval()


def checkpoint(model: STGCN, data: Dataset, site: Site | None) -> Checkpoint:
    return Checkpoint(
        model.channels, model.state_dict(), data.name, data.fingerprint, 1, {}, 1.0, layout=model.layout, site=site
    )


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    """A folder as a search on the corner leaves it."""
    data = corner()
    save_checkpoint(tmp_path / "run" / "checkpoints" / "best.pt", checkpoint(pruned(data), data, Site.of(data)))
    return tmp_path / "run"


def km_h(rows: int = 12) -> np.ndarray:
    draw = np.random.default_rng(4)
    return (80 + 3 * draw.standard_normal((rows, 6)).cumsum(axis=0)).clip(5.0)


def call(module: Any, *arguments: object) -> int:
    return command.run(module.main, [str(a) for a in arguments])


@pytest.mark.parametrize("channels", [STUDENT, BASE, layout_of("student", "best"), layout_of("base", "best"), "pruned"])
def test_a_folded_network_forecasts_what_the_trained_one_does(channels: Any) -> None:
    data = corner()
    model = pruned(data) if channels == "pruned" else randomise(new_network(data, channels, seed=2)).eval()
    model = model.double()
    z = torch.randn(3, 12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = torch.tensor([0, 60, 140]) if model.layout.calendar else None  # a day has 144 steps
    with torch.no_grad():
        torch.testing.assert_close(Folded(model, 9)(z, start), model.roll_out(z, 9, start)[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("missing", ["nan", "zero"])
def test_gaps_are_filled_as_in_training(missing: str) -> None:
    plain = corner(missing=missing)
    gaps = np.random.default_rng(1).random(plain.speeds.shape) < 0.3
    gaps[4, :12, 2] = True
    data = replace(plain, speeds=np.where(gaps, np.float32(np.nan), plain.speeds))
    site = Site.of(data)
    windows = Windows(data, "test")
    raw = data.speeds[4, :12] / MPH["km/h"]
    if missing == "zero":
        raw = np.where(np.isnan(raw), np.float32(0.0), raw)
    seen: list[torch.Tensor] = []

    def network(z: torch.Tensor, start: torch.Tensor | None) -> torch.Tensor:
        seen.append(z)
        return z[:, :9]

    first, forecast = Forecaster(network, site)(torch.from_numpy(raw.astype(np.float32))[None])
    torch.testing.assert_close(seen[0][0], windows.days[0, :12], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        forecast[0] * MPH["km/h"], windows.denormalise(windows.days[0, :9]), rtol=1e-5, atol=1e-4
    )
    torch.testing.assert_close(first, forecast[:, 0])


def test_a_site_travels_with_the_checkpoint(tmp_path: Path) -> None:
    data = corner()
    model = pruned(data)
    save_checkpoint(tmp_path / "a.pt", checkpoint(model, data, Site.of(data)))
    found, site = load_student(tmp_path / "a.pt")
    np.testing.assert_array_equal(site.weights, data.weights)
    np.testing.assert_array_equal(site.graph_kernel, data.graph_kernel)
    assert (site.unit, site.missing, site.minutes, site.ahead[-1]) == ("km/h", "zero", 10, 90)
    assert (site.mean, site.std, site.fingerprint) == (data.mean, data.std, data.fingerprint)
    x = torch.randn(2, 12, 6, 1)
    with torch.no_grad():
        assert torch.equal(found(x), model(x))
    assert load_checkpoint(tmp_path / "a.pt").network(data).layout == model.layout


def test_a_checkpoint_without_a_site_wants_its_dataset(tmp_path: Path, demo: Dataset) -> None:
    for data in (corner(), demo):
        save_checkpoint(tmp_path / f"{data.name}.pt", checkpoint(new_network(data, STUDENT, 0), data, None))
    with pytest.raises(UserError, match=r"--dataset corner\.toml"):
        load_student(tmp_path / "corner.pt")
    assert load_student(tmp_path / "demo.pt").site.n_nodes == demo.n_nodes


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_forecasts_for_any_batch(kind: str, searched: Path, tmp_path: Path, capsys: Any) -> None:
    if kind == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    file = tmp_path / "out" / f"s.{kind}"
    assert call(export, "--output", searched, "--model", kind, "--file", file) == 0
    assert [p.name for p in file.parent.iterdir()] == [file.name]
    student = load_student(searched)
    told = capsys.readouterr().out
    assert f"{student.network.n_parameters():,} parameters" in told
    assert "[B, 9, 6] in km/h" in told
    model, trained = open_model(file), open_model(searched)
    assert model.spec == trained.spec
    found = agreement(student, model)
    assert found.next <= TOLERANCE
    assert found.holds
    assert f"by {found.next:.1e} standard deviations 10 minutes ahead" in told
    assert (model.form, trained.form) == (kind, "PyTorch")
    for batch in (1, 3, 50):
        readings = readings_like(student.site, batch)
        assert (readings == 0).any()
        for found, expected in zip(model.run(readings), trained.run(readings), strict=True):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=1e-4)
    first, forecast = model.run(readings)
    assert (first.shape, forecast.shape) == ((50, 6), (50, 9, 6))
    assert 30 < forecast.mean() < 160  # km/h, not z-scores


@pytest.fixture
def timed(tmp_path: Path) -> Path:
    """The same of a student that looks at the time of day."""
    data = corner()
    model = randomise(new_network(data, layout_of("student", "best"), seed=2)).eval()
    save_checkpoint(tmp_path / "timed" / "checkpoints" / "best.pt", checkpoint(model, data, Site.of(data)))
    return tmp_path / "timed"


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_looks_at_the_time_of_day_is_told_it(kind: str, timed: Path, tmp_path: Path, capsys: Any) -> None:
    if kind == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    file = tmp_path / f"s.{kind}"
    assert call(export, "--output", timed, "--model", kind, "--file", file) == 0
    assert "minute   [B], of the day" in capsys.readouterr().out
    student, model, trained = load_student(timed), open_model(file), open_model(timed)
    assert model.spec.clock
    assert agreement(student, model).holds
    readings = readings_like(student.site, 4)
    readings[3] = km_h()  # without a gap
    minute = np.array([0, 485, 489, 1439])
    found, expected = model.run(readings, minute)[1], trained.run(readings, minute)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    network, site = student
    same = np.repeat(readings[:1], 4, axis=0)
    at = model.run(same, minute)[1]
    np.testing.assert_allclose(at[1], at[2], rtol=1e-5)  # of one step of ten minutes
    assert np.abs(at[1] - at[3]).max() > 0.01
    z = torch.from_numpy((readings[3:] * site.mph - site.mean) / site.std)
    last = torch.tensor([143 - 11])  # 23:59 lies in the last of 144 steps
    by_hand = network.roll_out(z, 9, last)[0] * site.std + site.mean
    np.testing.assert_allclose(expected[3] * site.mph, by_hand[0].detach(), rtol=1e-3)


def test_a_forecast_at_a_time_of_day(timed: Path, tmp_path: Path, capsys: Any) -> None:
    np.save(tmp_path / "r.npy", km_h())
    given = ["--model", timed, "--readings", tmp_path / "r.npy"]
    assert call(predict, *given) == 2
    assert "such as --time 08:35" in capsys.readouterr().err
    for wrong in ("24:00", "8.35", "noon"):
        assert call(predict, *given, "--time", wrong) == 2
        assert "from 00:00 to 23:59" in capsys.readouterr().err
    assert call(predict, *given, "--time", "8:35") == 0
    table = np.array([row.split(",") for row in capsys.readouterr().out.splitlines()[1:]], dtype=float)
    _, expected = open_model(timed).run(km_h()[None].astype(np.float32), np.array([8 * 60 + 35]))
    np.testing.assert_allclose(table[:, 1:], expected[0], atol=1e-3)


def test_agreement_is_to_a_hundred_thousandth_or_to_five_roundings() -> None:
    assert Agreement(9e-6, 9e-6, 1e-7, 1e-7).holds
    assert Agreement(9e-6, 4e-5, 1e-7, 9e-6).holds
    assert not Agreement(9e-6, 4e-5, 9e-6, 1e-7).holds
    assert not Agreement(2e-5, 1e-6, 1e-7, 9e-6).holds
    assert not Agreement(1e-6, float("inf"), 1e-7, 1e-7).holds


def test_a_model_that_forecasts_something_else_is_not_written(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(Folded):
        def __init__(self, model: STGCN, steps: int) -> None:
            super().__init__(model, steps)
            self.bias += 1e-2

    monkeypatch.setattr(write, "Folded", Wrong)
    with pytest.raises(UserError, match="was not written"):
        write_student(load_student(searched), "pt2", tmp_path / "s" / "s.pt2")
    assert not list((tmp_path / "s").iterdir())


def test_a_missing_package_is_named_with_its_line(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(write.importlib.util, "find_spec", lambda name: None)
    assert call(export, "--output", searched, "--model", "onnx") == 2
    assert "pip install onnx onnxruntime" in capsys.readouterr().err
    assert not (searched / "student.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "onnx"], "--output DIR"),
        (["--model", "pt2", "--output", "run", "--paper"], "leave out"),
        (["--output", "run", "--latency"], "--latency belongs to --model"),
        (["--model", "pt2", "--output", "nowhere"], "no such file or folder"),
        (["--model", "pt2", "--output", "."], "no trained network"),
        (["--model", "pt2", "--output", "run", "--file", "student.onnx"], "let the name end in .pt2"),
        (["--model", "pt2", "--output", "run", "--file", ""], "wants a path"),
    ],
)
def test_wrong_calls(
    arguments: list[str], told: str, searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(searched.parent)
    assert call(export, *arguments) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("recipe", "output"), [("paper", "searched"), ("best", "timed")])
def test_latency_of_every_form(
    recipe: str, output: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = request.getfixturevalue(output)
    (folder / "best.json").write_text("{}")  # named instead of its folder, as for the tables
    assert (
        call(export, "--output", folder / "best.json", "--model", "pt2", "--file", tmp_path / "s.pt2", "--latency") == 0
    )
    rows = capsys.readouterr().out.splitlines()[-4:]
    assert [row.split(" (")[0] for row in rows] == [
        "teacher, PyTorch",
        "student, PyTorch",
        "student, onnx",
        "student, pt2",
    ]
    teacher = new_network(corner(), layout_of("teacher", recipe), seed=0).n_parameters()
    assert f"teacher, PyTorch ({teacher:,} parameters)" in rows[0]
    assert all(float(cell) > 0 for row in rows for cell in row.split()[-2:])


def test_a_forecast_from_a_csv(searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speeds = km_h(20)
    lines = [",".join(["time", *NAMES])] + [",".join([f"08:{5 * i}", *map(str, r)]) for i, r in enumerate(speeds)]
    lines[-1] = lines[-1].rsplit(",", 2)[0] + ",0,"  # both ways to say that a reading is missing
    (tmp_path / "r.csv").write_text("\n".join(lines))
    assert call(predict, "--model", searched, "--readings", tmp_path / "r.csv", "--skip-columns", 1) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split(",") == ["minutes", *NAMES]
    table = np.array([row.split(",") for row in rows], dtype=float)
    assert table[:, 0].tolist() == [10.0 * k for k in range(1, 10)]
    speeds[-1, 4:] = speeds[-2, 4:]
    _, expected = open_model(searched).run(speeds[None, -12:].astype(np.float32))
    np.testing.assert_allclose(table[:, 1:], expected[0], atol=1e-3)


def test_a_forecast_from_an_npz_as_json(searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speeds = km_h()
    speeds[:, 1] = np.nan
    np.savez(tmp_path / "r.npz", flow=speeds, speed=speeds[..., None])
    given = ["--readings", tmp_path / "r.npz", "--key", "speed", "--channel", 0, "--format", "json"]
    assert call(predict, "--model", searched, *given, "--file", tmp_path / "f.json") == 0
    found = capsys.readouterr()
    assert found.out == f"written to {tmp_path / 'f.json'}\n"
    assert "1 sensor has no reading" in found.err
    document = json.loads((tmp_path / "f.json").read_text())
    assert (document["unit"], document["minutes"][-1], document["sensors"]) == ("km/h", 90, [*"012345"])
    _, expected = open_model(searched).run(speeds[None].astype(np.float32))
    np.testing.assert_allclose(document["speeds"], expected[0], atol=1e-3)


def test_a_reading_before_the_window_fills_a_gap(searched: Path, tmp_path: Path, capsys: Any) -> None:
    long, short = km_h(30), km_h(30)
    long[10:, 3] = np.nan
    short[10:, 3] = short[9, 3]
    for name, speeds in (("long", long), ("short", short[-12:])):
        np.save(tmp_path / f"{name}.npy", speeds)
        assert call(predict, "--model", searched, "--readings", tmp_path / f"{name}.npy") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:10] == out[10:]


@pytest.mark.parametrize(
    ("rows", "columns", "scale", "told"),
    [
        (11, 6, 1.0, "needs the last 12"),
        (12, 5, 1.0, "has 5 columns and the model forecasts the 6 sensors of corner"),
        (12, 7, 1.0, "--skip-columns"),
        (12, 6, 9.0, "faster than any car"),
    ],
)
def test_readings_that_do_not_fit(
    rows: int, columns: int, scale: float, told: str, searched: Path, tmp_path: Path, capsys: Any
) -> None:
    np.savetxt(tmp_path / "r.csv", np.full((rows, columns), 80.0 * scale), delimiter=",")
    assert call(predict, "--model", searched, "--readings", tmp_path / "r.csv") == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("name", ["absent.onnx", "damaged.onnx", "damaged.pt2", "damaged.pt"])
def test_models_that_cannot_be_read(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    if "damaged" in name:
        (tmp_path / name).write_bytes(b"not a model")
    np.save(tmp_path / "r.npy", km_h())
    assert call(predict, "--model", tmp_path / name, "--readings", tmp_path / "r.npy") == 2
    assert name in capsys.readouterr().err


@pytest.mark.real
@pytest.mark.slow
def test_on_real_readings_both_forms_agree_to_five_digits(real_data: Path, tmp_path: Path) -> None:
    """From the readings of a real day, where a trained network's errors are those of rounding alone."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from kdsearch.data import load
    from tests.conftest import DECLARATIONS

    data = load(DECLARATIONS / "pemsd7-20.toml", real_data)
    student = Student(new_network(data, STUDENT, seed=0).eval(), Site.of(data))
    save_checkpoint(tmp_path / "s.pt", checkpoint(student.network, data, student.site))
    trained = open_model(tmp_path / "s.pt")
    day = np.ascontiguousarray(data.speeds[0]) / np.float32(student.site.mph)
    readings = np.stack([day[i : i + 12] for i in range(0, 268, 4)])
    for kind in KINDS:
        write_student(student, kind, tmp_path / f"s.{kind}")
        for found, expected in zip(
            open_model(tmp_path / f"s.{kind}").run(readings), trained.run(readings), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-5)
