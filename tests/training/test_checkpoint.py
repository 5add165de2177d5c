"""Networks on disk."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kdsearch.errors import UserError
from kdsearch.models.stgcn import Layout
from kdsearch.training.checkpoint import Checkpoint, load_checkpoint, load_tensors, save_checkpoint, save_tensors
from kdsearch.training.evaluate import evaluate
from kdsearch.training.network import new_network
from tests.training.tiny import CHANNELS, randomised, tiny, weights_equal


@pytest.fixture
def checkpoint() -> Checkpoint:
    data = tiny()
    model = randomised(new_network(data, CHANNELS, 0), 3)
    figures = evaluate(model, data, "validation")
    return Checkpoint(CHANNELS, model.state_dict(), "tiny", data.fingerprint, 7, {"score": 1.5, **figures}, 2.5)


def test_round_trip(checkpoint, tmp_path):
    path = tmp_path / "deep" / "er" / "a.pt"
    save_checkpoint(path, checkpoint)
    again = load_checkpoint(path)
    assert weights_equal(again.weights, checkpoint.weights)
    plain = ("channels", "dataset", "data", "epoch", "validation", "seconds", "layout")
    assert all(getattr(again, k) == getattr(checkpoint, k) for k in plain)
    model = again.network(tiny())
    assert not model.training
    figures = evaluate(model, tiny(), "validation")
    assert figures == {k: v for k, v in checkpoint.validation.items() if k != "score"}
    assert [p.name for p in path.parent.iterdir()] == ["a.pt"]


def test_a_pruned_network_keeps_its_shape(tmp_path):
    data = tiny()
    layout = Layout(((1, 2, 3), (3, 2, 2)), (2, 1), ((0,), (2, 0), None, (1, -1), (0, 1)))
    model = randomised(new_network(data, layout, 0))
    save_checkpoint(
        tmp_path / "a.pt", Checkpoint(layout.blocks, model.state_dict(), "tiny", data.fingerprint, 1, {}, 0, layout)
    )
    again = load_checkpoint(tmp_path / "a.pt")
    assert again.layout == layout
    assert evaluate(again.network(data), data, "validation") == evaluate(model, data, "validation")


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped"])
def test_a_damaged_file(checkpoint, tmp_path, damage):
    path = tmp_path / "a.pt"
    save_checkpoint(path, checkpoint)
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "cut": whole[:middle],
            "empty": b"",
            "text": b"no checkpoint at all\n",
            "flipped": whole[:60] + bytes(255 - b for b in whole[60:400]) + whole[400:],
        }[damage]
    )
    with pytest.raises(UserError, match=r"a\.pt is not a readable checkpoint"):
        load_checkpoint(path)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_never_run(tmp_path):
    sign, path = tmp_path / "exploded", tmp_path / "a.pt"
    torch.save({"format": 1, "weights": Bomb(sign)}, path)
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Bomb(sign), protocol=2))
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_checkpoint(path)
    assert not sign.exists()
    pickle.loads(pickle.dumps(Bomb(sign)))
    assert sign.exists(), "the bomb is none: this test could not fail"


def test_a_file_of_something_else(checkpoint, tmp_path):
    path = tmp_path / "a.pt"
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="holds a list"):
        load_checkpoint(path)
    with pytest.raises(UserError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(UserError):
        load_checkpoint(tmp_path)
    save_checkpoint(path, checkpoint)
    payload = load_tensors(path)
    for changed, message in (
        ({**payload, "format": 99}, "format 1"),
        ({k: v for k, v in payload.items() if k != "format"}, "format 1"),
        ({k: v for k, v in payload.items() if k != "epoch"}, "not a whole checkpoint"),
        ({k: v for k, v in payload.items() if k != "channels"}, "not a whole checkpoint"),
        ({**payload, "extra": 1}, "not a whole checkpoint"),
        ({**payload, "channels": [[1, 2]]}, "not a whole checkpoint"),
        ({**payload, "channels": 3}, "not a whole checkpoint"),
        ({**payload, "layout": {"blocks": 1}}, "not a whole checkpoint"),
        ({**payload, "layout": Layout.of(((1, 2, 4), (4, 2, 8))).plain()}, "disagree"),
    ):
        save_tensors(path, changed)
        with pytest.raises(UserError, match=message):
            load_checkpoint(path)


def test_other_data_is_refused(checkpoint):
    with pytest.raises(UserError, match=r"was trained on 'tiny' .* not on 'tiny'"):
        checkpoint.network(tiny(seed=1))


def test_tensors_that_do_not_fit(checkpoint):
    missing = dict(checkpoint.weights)
    del missing["head.bias"]
    extra = {**checkpoint.weights, "more": torch.zeros(1)}
    wrong = {**checkpoint.weights, "head.bias": torch.zeros(9)}
    for weights, message in ((missing, "head.bias"), (extra, "more"), (wrong, "head.bias")):
        with pytest.raises(UserError, match=message) as error:
            replace(checkpoint, weights=weights).network(tiny())
        assert "\n" not in str(error.value)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(checkpoint, tmp_path):
    path = tmp_path / "a.pt"
    save_checkpoint(path, checkpoint)
    before = path.read_bytes()
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        save_tensors(path, {"function": lambda: None})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("size", [300, 100_000])
def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path, size):
    """The limit on a file's size stands for the disk: torch tells of neither in the words of the system."""
    path = tmp_path / "a.pt"
    save_tensors(path, {"x": torch.arange(3)})
    code = (
        "import resource, signal, sys, torch; from pathlib import Path;"
        "from kdsearch.errors import UserError; from kdsearch.training.checkpoint import save_tensors;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
        "try: save_tensors(Path(sys.argv[1]), {'x': torch.arange(100_000)})\n"
        "except UserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout.strip() == f"{path} cannot be written (File too large): make room, or name another"
    assert load_tensors(path)["x"].tolist() == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
