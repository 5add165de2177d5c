"""A search behind a URI, brought to hand for a command that only reads it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from kdsearch.errors import UserError
from kdsearch.remote.copies import results_of
from kdsearch.remote.place import Place
from kdsearch.remote.uri import Uri

__all__ = ["all_at_hand", "at_hand"]


@contextlib.contextmanager
def at_hand(given: Path | Uri, option: str) -> Iterator[Path]:
    """A file or folder of this machine; of a URI, a copy that is gone with the ``with``.

    Args:
        given: what the command was given.
        option: how it is called there, for errors.

    Raises:
        UserError: the URI cannot be read, or nothing is there.
    """
    if isinstance(given, Path):
        yield given
        return
    place = Place.open(given, option)
    with tempfile.TemporaryDirectory(prefix="kdsearch-") as temporary:
        copy = Path(temporary) / given.name
        if place.is_file():
            copy.write_bytes(place.read())
        else:
            names = results_of(place.files())
            if not names:
                raise UserError(f"{option} {given}: there is nothing")
            for name in names:
                path = copy / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(place.read(name))
        yield copy


@contextlib.contextmanager
def all_at_hand(given: Sequence[Path | Uri], option: str) -> Iterator[list[Path]]:
    """The same for several."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(at_hand(one, option)) for one in given]
