"""Networks that forecast the change from the last reading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kdsearch.models.stgcn import BASE, CHANNELS, STGCN, STUDENT, Layout
from kdsearch.pruning.compact import compact
from kdsearch.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from kdsearch.training.network import layout_of, new_network
from kdsearch.training.recipe import PAPER
from kdsearch.training.reference import fingerprint
from kdsearch.training.settings import FitSettings
from tests.models.test_stgcn import check_equivariance, draw, naive, network
from tests.training.tiny import randomised, tiny

PERSISTENT = replace(Layout.of(STUDENT), persistence=True)


@pytest.mark.parametrize("steps", [12, 15, 80])  # one window, several, and so many that the pass is made in pieces
@torch.no_grad()
def test_is_the_published_network_and_the_last_reading(steps: int) -> None:
    published, persistent = network(4, STUDENT), network(4, PERSISTENT)
    x = draw(2, steps, 4, 1)
    change, found = published.features(x), persistent.features(x)
    last = x[:, 11:, :, 0]
    torch.testing.assert_close(found.prediction, change.prediction + (last[:, 0] if steps == 12 else last))
    for kind in ("temporal", "spatial"):
        torch.testing.assert_close(getattr(found, kind), getattr(change, kind))


def test_one_that_says_nothing_is_copy_last() -> None:
    model = network(4, PERSISTENT)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    x = draw(3, 12, 4)
    rolled, _ = model.roll_out(x, 9)
    torch.testing.assert_close(rolled, x[:, -1:].expand(-1, 9, -1))


def test_roll_out_is_the_prediction_fed_back() -> None:
    model = network(4, PERSISTENT)
    x = draw(3, 12, 4)
    torch.testing.assert_close(model.roll_out(x, 9)[0], naive(model, x, 9), rtol=1e-10, atol=1e-10)


def test_one_pass_over_a_day_is_every_window_of_it(demo) -> None:
    check_equivariance(demo, replace(Layout.of(BASE), persistence=True), torch.float64, 1e-12)


def test_pruning_keeps_it() -> None:
    model = network(4, replace(Layout.of(BASE), persistence=True))
    keep = {
        "block1.mid": (0, 3),
        "block1.out": (1, 2, 5),
        "block2.mid": (0, 1),
        "block2.out": (0, 4),
        "head.glu": (1, 2, 7),
        "head.sigmoid": (6,),
    }
    assert compact(model, keep).layout.persistence


def test_saved_one_comes_back(tmp_path: Path) -> None:
    data = tiny()
    model = randomised(new_network(data, PERSISTENT, seed=0), 1)
    kept = Checkpoint(
        STUDENT, model.state_dict(), data.name, data.fingerprint, 1, {"score": 1.0}, 1.0, layout=PERSISTENT
    )
    save_checkpoint(tmp_path / "net.pt", kept)
    found = load_checkpoint(tmp_path / "net.pt").network(data)
    assert isinstance(found, STGCN)
    assert found.layout == PERSISTENT
    x = torch.randn(2, 12, data.n_nodes, 1)
    torch.testing.assert_close(found(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize("name", CHANNELS)
def test_recipes_and_names(name: str) -> None:
    assert layout_of(name, PAPER) == Layout.of(CHANNELS[name])
    best = layout_of(name, "best")
    assert best.persistence
    assert not best.published
    assert Layout.from_plain(best.plain()) == best
    data, settings = tiny(), FitSettings()
    # The paper's networks keep the names that caches have for them.
    assert fingerprint(data, layout_of(name, PAPER), settings) == fingerprint(data, CHANNELS[name], settings)
    assert fingerprint(data, best, settings) != fingerprint(data, CHANNELS[name], settings)
    assert "persistence" not in layout_of(name, PAPER).plain()


@pytest.mark.parametrize("n_nodes", [20, 170, 228])
def test_the_student_of_the_best_recipe_is_no_larger_than_the_papers(n_nodes: int) -> None:
    teacher, student = (
        STGCN(
            n_nodes, layout_of(name, "best"), torch.eye(n_nodes).expand(3, -1, -1), usual_day=torch.zeros(288, n_nodes)
        ).n_parameters()
        for name in ("teacher", "student")
    )
    assert student <= 0.031 * teacher
    assert n_nodes != 228 or student == 6526
