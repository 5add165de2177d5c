"""Networks that are told how the speeds usually change from a time of day on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from kdsearch.data import Dataset, Windows
from kdsearch.distillation.bank import BankReader, LiveTeacher, TeacherBank
from kdsearch.distillation.losses import get
from kdsearch.models.stgcn import BASE, STGCN, STUDENT, Layout
from kdsearch.pruning.compact import compact
from kdsearch.training.evaluate import forecast
from kdsearch.training.network import layout_of, new_network
from tests.training.tiny import randomised

LAYOUT = replace(Layout.of(BASE, calendar=(3, 9)), persistence=True)


def told(data: Dataset, layout: Layout = LAYOUT) -> STGCN:
    return randomised(new_network(data, layout, seed=0), 1).double().eval()


def by_hand(model: STGCN, data: Dataset, x: Tensor, start: int) -> Tensor:
    """One step of a window ``[n_his, N]``, its channels written out for a network without a calendar."""
    usual = torch.tensor(data.usual_day)  # as the network has it, in single precision
    steps = [(start + i) % data.steps_per_day for i in range(len(x))]
    rows = [x]
    for ahead in model.layout.calendar:
        later = [(s + ahead) % data.steps_per_day for s in steps]
        rows.append((usual[later] - usual[steps]).double())
    plain = STGCN(
        data.n_nodes, replace(model.layout, calendar=(), persistence=False), model.graph_kernel.float(), model.n_his
    )
    plain.double().load_state_dict(model.state_dict())
    return plain(torch.stack(rows, dim=-1)[None])[0] + x[-1]


@torch.no_grad()
def test_each_reading_comes_with_the_usual_changes_from_its_time_on(demo: Dataset) -> None:
    model, x = told(demo), torch.randn(12, demo.n_nodes, dtype=torch.float64)
    for start in (0, 100, 280):  # the last runs past midnight
        found = model(x[None, ..., None], torch.tensor([start]))[0]
        torch.testing.assert_close(found, by_hand(model, demo, x, start), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_day_in_one_pass_is_every_window_of_it(demo: Dataset) -> None:
    model, day = told(demo), Windows(demo, "train").days[:1].double()
    whole = model.features(day.unsqueeze(-1), torch.zeros(1, dtype=torch.long))
    for start in (0, 7, 130, 276):
        one = model.features(day[:, start : start + 12].unsqueeze(-1), torch.tensor([start]))
        torch.testing.assert_close(whole.prediction[:, start], one.prediction, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(whole.spatial[1][:, start : start + 6], one.spatial[1], rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_roll_out_knows_the_time_of_each_step(demo: Dataset) -> None:
    model, windows = told(demo), Windows(demo, "train")
    start = torch.tensor([3, 150, 283])
    x = windows.inputs(torch.tensor([0, 1, 0]), torch.tensor([3, 150, 200])).double()
    seen = x
    for step in range(9):
        seen = torch.cat((seen, model(seen[:, -12:, :, None], start + step)[:, None]), dim=1)
    torch.testing.assert_close(model.roll_out(x, 9, start)[0], seen[:, 12:], rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_bank_tells_what_the_teacher_would(demo: Dataset) -> None:
    model, windows = told(demo).float(), Windows(demo, "train")
    needs = get("stcd").NEEDS
    bank = TeacherBank.build(model, windows.days[:2], needs).with_rollout(model, windows.days[:2], 4)
    day, start = torch.tensor([1, 0, 1]), torch.tensor([0, 40, 260])
    x = windows.inputs(day, start)
    found, live = BankReader(bank)(day, start, x), LiveTeacher(model, steps=4)(day, start, x)
    torch.testing.assert_close(found.prediction, live.prediction, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.rollout, live.rollout, rtol=2e-3, atol=2e-3)
    other = LiveTeacher(model, steps=4)(day, start + 60, x)
    assert (found.prediction - other.prediction).abs().max() > 0.01


@torch.no_grad()
def test_forecasts_of_a_dataset_are_told_the_time(demo: Dataset) -> None:
    model, windows = told(demo).float(), Windows(demo, "validation")
    found = forecast(model, windows, 3)
    index = 200
    day, start = windows.locate(torch.tensor([index]))
    alone = model.roll_out(windows.inputs(day, start), 3, start)[0]
    torch.testing.assert_close(found[index], windows.denormalise(alone)[0], rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_pruning_keeps_it(demo: Dataset) -> None:
    model = told(demo)
    keep = {"block1.mid": (0, 3), "block1.out": (1, 2, 5)}
    smaller = compact(model, keep)
    assert smaller.layout.calendar == (3, 9)
    assert smaller.layout.blocks[0] == (3, 2, 3)
    assert torch.equal(smaller.usual, model.usual)
    x, start = torch.randn(1, 12, demo.n_nodes, dtype=torch.float64), torch.tensor([90])
    torch.testing.assert_close(smaller.roll_out(x, 1, start)[0][0, 0], by_hand(smaller, demo, x[0], 90))


def test_without_the_time_it_says_so(demo: Dataset) -> None:
    with pytest.raises(ValueError, match="at which step of the day"):
        told(demo)(torch.zeros(1, 12, demo.n_nodes, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="needs the usual day"):
        STGCN(demo.n_nodes, LAYOUT, torch.tensor(demo.graph_kernel))


def test_layouts_that_cannot_be(demo: Dataset) -> None:
    with pytest.raises(ValueError, match="at least one step ahead"):
        replace(LAYOUT, calendar=(3, 0))
    with pytest.raises(ValueError, match="takes 3 channels"):
        replace(LAYOUT, calendar=(3,))
    assert Layout.from_plain(LAYOUT.plain()) == LAYOUT
    assert "calendar" not in Layout.of(STUDENT).plain()


def test_only_the_best_recipe_has_one() -> None:
    assert layout_of("student", "best").calendar == layout_of("teacher", "best").calendar == (3, 9)
    assert layout_of("student", "paper").calendar == ()
    np.testing.assert_array_equal(layout_of("teacher", "paper").blocks[0], (1, 32, 64))
