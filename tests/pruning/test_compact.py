"""Removal computes the masked function; residuals find their channels; files bring it all back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdsearch.data import Dataset, Windows
from kdsearch.distillation import losses
from kdsearch.errors import UserError
from kdsearch.models.layout import Layout
from kdsearch.models.stgcn import STGCN
from kdsearch.pruning import PruneSettings, compact, prune
from kdsearch.pruning.structure import Selection, layers
from kdsearch.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from kdsearch.training.fit import Trainer, fit
from kdsearch.training.network import new_network
from kdsearch.training.rmsprop import TFRMSprop
from kdsearch.training.settings import FitSettings
from tests.pruning.conftest import SMALL, randomise
from tests.pruning.masked import masked_forward

KEEP = {
    "block1.mid": (0, 3),
    "block1.out": (1, 2, 5),
    "block2.mid": (0, 1),
    "block2.out": (0, 1, 4, 7),
    "head.glu": (1, 2, 4, 5, 7),
    "head.sigmoid": (6,),
}


def masks_of(model: STGCN, keep: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    masks = {}
    for layer in layers(model):
        mask = torch.zeros(layer.width, dtype=torch.float64)
        mask[list(keep.get(layer.name, range(layer.width)))] = 1.0
        masks[layer.name] = mask
    return masks


def inputs(model: STGCN, batch: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 12, model.n_nodes, 1, generator=generator, dtype=torch.float64)


def masked(model: STGCN, x: Tensor, keep: Mapping[str, tuple[int, ...]]) -> Tensor:
    masks = {name: mask.to(x.dtype) for name, mask in masks_of(model, keep).items()}
    return masked_forward(dict(model.named_parameters()), model.graph_kernel, x, masks)


def subsets(width: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.sets(st.integers(0, width - 1), min_size=1).map(lambda chosen: tuple(sorted(chosen)))


WIDTHS = {"block1.mid": 4, "block1.out": 6, "block2.mid": 3, "block2.out": 8, "head.glu": 8, "head.sigmoid": 8}


def test_definition_with_everything_kept_is_the_network(small: STGCN) -> None:
    model = small.double()
    x = inputs(model)
    torch.testing.assert_close(masked(model, x, {}), model(x), rtol=0, atol=1e-12)


@given(keep=st.fixed_dictionaries({name: subsets(width) for name, width in WIDTHS.items()}))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_channels_removed_equal_masked_on_random_weights(small: STGCN, keep: dict[str, tuple[int, ...]]) -> None:
    model = small.double()
    smaller = compact(model, keep)
    x = inputs(model)
    torch.testing.assert_close(smaller(x), masked(model, x, keep), rtol=0, atol=1e-11)
    assert smaller.n_parameters() == sum(p.numel() for p in smaller.parameters())
    assert [layer.width for layer in layers(smaller)] == [len(keep[name]) for name in WIDTHS]


def test_single_precision(small: STGCN) -> None:
    x = inputs(small).float()
    torch.testing.assert_close(compact(small, KEEP)(x), masked(small, x, KEEP), rtol=1e-5, atol=1e-5)


def test_features_and_long_inputs_are_those_of_the_kept_channels(small: STGCN) -> None:
    smaller = compact(small.double(), KEEP)
    x = torch.randn(2, 20, small.n_nodes, 1, dtype=torch.float64)
    windowed = torch.stack([smaller(x[:, i : i + 12]) for i in range(9)], dim=1)
    torch.testing.assert_close(smaller(x), windowed, rtol=0, atol=1e-12)
    widths = [f.shape[-1] for f in smaller.features(x).temporal]
    assert widths == [len(KEEP[n]) for n in ("block1.mid", "block1.out", "block2.mid", "block2.out")]
    rolled, _ = smaller.roll_out(x[:, :12, :, 0], 2)
    torch.testing.assert_close(rolled[:, 0], smaller(x[:, :12]), rtol=0, atol=1e-12)


def test_removing_twice_is_removing_once(small: STGCN) -> None:
    model = small.double()
    first = {"block1.out": (1, 2, 4, 5), "block2.out": (0, 1, 3, 4, 7), "head.glu": (1, 2, 4, 5, 7)}
    then = {"block1.out": (0, 1, 3), "block2.out": (0, 1, 3, 4), "head.glu": (0, 2, 3)}
    once = {"block1.out": (1, 2, 5), "block2.out": (0, 1, 4, 7), "head.glu": (1, 4, 5)}
    twice = compact(compact(model, first), then)
    assert twice.layout == compact(model, once).layout
    torch.testing.assert_close(twice(inputs(model)), masked(model, inputs(model), once), rtol=0, atol=1e-11)


def test_residual_index_maps_by_hand(small: STGCN) -> None:
    layout = compact(small, KEEP).layout
    assert layout.blocks == ((1, 2, 3), (3, 2, 4))
    assert layout.head == (5, 1)
    assert layout.residuals == (
        (0,),  # the input is added to channel 0, which is kept in place 0
        (-1, -1),  # 1 -> 6, padded: channels 0 and 3 of 4 were added to 0 and 3, neither of which is kept
        None,  # 6 -> 3: a trained map, although it leads from 3 to 2 channels now
        (0, 1),  # 3 -> 8, padded: 0 and 1 to 0 and 1
        (-1, 0, 2, 4),  # 8 -> 8, identity: 0 is gone; 1, 4 and 7 are now channels 0, 2 and 4
    )


@pytest.mark.parametrize("kept", [(1, 2), (0, 2, 3), (0, 1, 2, 3, 4, 5)])  # from 4 channels: fewer, as many, more
def test_residual_across_widths(small: STGCN, kept: tuple[int, ...]) -> None:
    model = small.double()
    keep = {"block1.mid": (1, 2, 3), "block1.out": kept}
    smaller = compact(model, keep)
    expected = {1: 1, 2: 2, 3: 3}
    assert smaller.layout.residuals[1] == tuple(
        kept.index(target) if target in kept else -1 for target in expected.values()
    )
    torch.testing.assert_close(smaller(inputs(model)), masked(model, inputs(model), keep), rtol=0, atol=1e-11)


def test_network_that_is_given_stays_as_it_is(small: STGCN) -> None:
    before = {k: v.clone() for k, v in small.state_dict().items()}
    compact(small, KEEP)
    assert all(torch.equal(before[k], v) for k, v in small.state_dict().items())


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "random"])
def test_equal_before_and_after_the_same_further_training(road: Dataset, small: STGCN, trained: bool) -> None:
    """Identical updates of a network with masks and of what removal left of it keep them equal."""
    if trained:
        once = FitSettings(epochs=1, batch_size=186)
        trainer = Trainer(new_network(road, SMALL, seed=0), road, losses.build("none"), once)
        fit(trainer)
        small = trainer.model
    model = small.double()
    smaller = compact(model, KEEP)
    x = inputs(model, batch=8)
    before = masked(model, x, KEEP)
    torch.testing.assert_close(smaller(x), before, rtol=0, atol=1e-11)
    windows = Windows(road, "train")
    optimizers = [TFRMSprop(m.parameters(), lr=5e-3) for m in (model, smaller)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        day, start = windows.locate(torch.randint(len(windows), (16,), generator=generator))
        values, target = windows.inputs(day, start).double().unsqueeze(-1), windows.targets(day, start)[0][:, 0]
        for optimizer, forecast in zip(optimizers, (masked(model, values, KEEP), smaller(values)), strict=True):
            optimizer.zero_grad()
            ((forecast - target).square().mean() * 40).backward()
            optimizer.step()
    after = masked(model, x, KEEP)
    assert float((after - before).detach().abs().max()) > 0.05
    torch.testing.assert_close(smaller(x), after, rtol=0, atol=1e-9)
    chosen = Selection(layers(model), KEEP)
    for name, p in smaller.named_parameters():
        torch.testing.assert_close(p, chosen(name, dict(model.named_parameters())[name]), rtol=0, atol=1e-9)


def test_saved_pruned_network_comes_back(road: Dataset, tmp_path: Path) -> None:
    model = prune(
        randomise(new_network(road, SMALL, seed=1)),
        road,
        losses.build("none"),
        PruneSettings(50, pruning_minibatch=2),
        FitSettings(epochs=1, batch_size=186),
    )
    path = tmp_path / "pruned.pt"
    weights = dict(model.state_dict())
    kept = Checkpoint(model.channels, weights, road.name, road.fingerprint, 1, {"score": 2.0}, 1.0, model.layout)
    save_checkpoint(path, kept)
    back = load_checkpoint(path).network(road)
    x = inputs(back).float()
    assert back.layout == model.layout
    assert not back.layout.published
    assert torch.equal(back(x), model(x))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: w.pop("head.norm.gamma"), "Missing key"),
        (lambda w: w.update(extra=torch.zeros(2)), "Unexpected key"),
        (lambda w: w.update({"head.bias": torch.zeros(2)}), "size mismatch"),
    ],
)
def test_checkpoint_with_wrong_tensors(road: Dataset, small: STGCN, change: object, told: str) -> None:
    smaller = compact(small, KEEP)
    weights = dict(smaller.state_dict())
    change(weights)  # type: ignore[operator]
    damaged = Checkpoint(smaller.channels, weights, road.name, road.fingerprint, 1, {}, 1.0, smaller.layout)
    with pytest.raises(UserError, match=told):
        damaged.network(road)


def test_checkpoint_with_a_layout_that_is_none(road: Dataset, small: STGCN, tmp_path: Path) -> None:
    smaller = compact(small, KEEP)
    good = Checkpoint(
        smaller.channels, dict(smaller.state_dict()), road.name, road.fingerprint, 1, {}, 1.0, smaller.layout
    )
    path = tmp_path / "x.pt"
    save_checkpoint(path, good)
    for damage in (
        {"residuals": ((0,), (0, 0), None, (0, 1), (-1, 0, 2, 4))},
        {"residuals": ((0,),)},
        {"head": (5,)},
        {"blocks": ((1, 2, 3), (4, 2, 4))},
    ):
        payload = torch.load(path, weights_only=True)
        payload["layout"] = {**payload["layout"], **damage}
        torch.save(payload, tmp_path / "y.pt")
        with pytest.raises(UserError, match="not a whole checkpoint"):
            load_checkpoint(tmp_path / "y.pt")
    payload = torch.load(path, weights_only=True)
    payload["channels"] = ((1, 2, 3), (3, 2, 5))
    torch.save(payload, tmp_path / "y.pt")
    with pytest.raises(UserError, match="disagree"):
        load_checkpoint(tmp_path / "y.pt")


@pytest.mark.parametrize(
    ("keep", "told"),
    [
        ({"block3.mid": (0,)}, "no layer"),
        ({"block1.mid": ()}, "not ascending"),
        ({"block1.mid": (1, 0)}, "not ascending"),
        ({"block1.mid": (0, 0)}, "not ascending"),
        ({"block1.mid": (0, 4)}, "not ascending"),
        ({"block1.mid": (-1,)}, "not ascending"),
    ],
)
def test_channels_that_do_not_exist(small: STGCN, keep: dict[str, tuple[int, ...]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        compact(small, keep)


def test_layout_as_plain_values(small: STGCN) -> None:
    layout = compact(small, KEEP).layout
    assert Layout.from_plain(layout.plain()) == layout
    assert Layout.of(SMALL).published
    assert small.layout == Layout.of(SMALL)


def test_gains_of_rank_one_are_refused(small: STGCN) -> None:
    with pytest.raises(ValueError, match="rank1"):
        layers(small.like(replace(small.layout, affine="rank1")))
