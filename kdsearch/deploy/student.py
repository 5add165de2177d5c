"""The winner of a search, with what is known of its sensors."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kdsearch.contents import BEST, JOURNAL, WINNER
from kdsearch.data import load
from kdsearch.data.catalog import KNOWN
from kdsearch.data.site import Site
from kdsearch.errors import UserError
from kdsearch.models.stgcn import STGCN
from kdsearch.training.checkpoint import load_checkpoint

__all__ = ["Student", "checkpoint_in", "load_student"]


class Student(NamedTuple):
    """A trained network in evaluation mode, and its site."""

    network: STGCN
    site: Site


def checkpoint_in(path: Path) -> Path:
    """The checkpoint that a path means: the file itself, or the winner's in the folder of a search.

    Raises:
        UserError: there is none; the message says how to finish a search that was left half way.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder; name the --output of a search")
    if path.name == BEST:  # what other commands take for the search
        path = path.parent
    if not path.is_dir():
        return path
    found = path / WINNER
    if found.is_file():
        return found
    if (path / JOURNAL).exists():
        raise UserError(f"{path}: its search has not finished; run it again with the same arguments and --resume")
    raise UserError(f"{path}: holds no trained network (no {WINNER}); name the --output of a search")


def load_student(path: Path, dataset: str | None = None, data_dir: Path | None = None) -> Student:
    """Read a trained network and its site.

    Args:
        path: folder of a finished search, its best.json, or a checkpoint.
        dataset: name or TOML file of its dataset; only needed for a checkpoint that does not tell, one of an earlier
            version.
        data_dir: where that dataset's files lie.

    Raises:
        UserError: there is no such checkpoint, it is damaged, or it does not tell its site and the dataset is unknown.
    """
    checkpoint = load_checkpoint(checkpoint_in(path))
    site = checkpoint.site
    if dataset is None and site is None:
        if checkpoint.dataset not in KNOWN:
            raise UserError(
                f"{path}: its checkpoint is of an earlier version and does not hold the graph of "
                f"{checkpoint.dataset!r}: name the file that declares it, --dataset {checkpoint.dataset}.toml"
            )
        dataset = checkpoint.dataset
    if dataset is not None:
        site = Site.of(load(dataset, data_dir))
    assert site is not None
    return Student(checkpoint.network(site), site)
