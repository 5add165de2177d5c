"""One writer behind a URI: stores of objects have no locks, so who writes says so again and again.

A file holds the writer's name and how soon it will be written anew. Who finds that of another waits to see whether it
changes: clocks are not compared. A writer that was killed on this machine is known by its name, kept in the folder
here, whose lock nobody else has; then there is nothing to wait for.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdsearch.errors import UserError
from kdsearch.remote.copies import WRITER
from kdsearch.remote.place import Place

__all__ = ["Writer"]

# A writer is gone that was silent for so many times as long as it said.
_SILENCE = 3.0


class Writer:
    """This process as the writer behind a URI.

    Args:
        place: behind the URI.
        folder: of this machine, whose lock is held.
        every_s: least time between two of its words.
    """

    def __init__(self, place: Place, folder: Path, every_s: float) -> None:
        self._place, self._every_s = place, every_s
        self._said, self._next_s = 0.0, every_s
        self._known = folder / WRITER
        before = self._known.read_text(encoding="utf-8").strip() if self._known.is_file() else ""
        self.name = before or uuid.uuid4().hex

    def take(self, on_wait: Callable[[float], None]) -> None:
        """Become the writer, perhaps after another one was seen to be silent.

        Args:
            on_wait: told once for how many seconds, if that is so.

        Raises:
            UserError: another one writes.
            OSError, ValueError, NotImplementedError: the place cannot be written.
        """
        self._known.write_text(self.name, encoding="utf-8")
        other = self._read()
        if other is not None and other.get("writer") != self.name:
            patience = _SILENCE * max(float(other.get("next_s", self._every_s)), self._every_s)
            on_wait(patience)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                time.sleep(min(self._every_s / 2, max(0.0, deadline - time.monotonic())))
                now = self._read()
                if now is None:
                    break
                if now != other:
                    raise UserError(
                        f"another search is writing to {self._place.uri}: wait for it, or give another --output"
                    )
        self.say(self._every_s)

    def say(self, next_s: float) -> None:
        """Write the file anew; the next time will be in so many seconds at most."""
        self._next_s = next_s
        word = {"writer": self.name, "next_s": next_s, "word": uuid.uuid4().hex}
        self._place.write(WRITER, json.dumps(word).encode())
        self._said = time.monotonic()

    def say_again(self) -> None:
        """The same, if it is time: called between two files of a long copy."""
        if time.monotonic() >= self._said + min(self._every_s, self._next_s):
            self.say(self._next_s)

    def replaced(self) -> bool:
        """Whether another one took this one for gone, as after a long time without a network."""
        other = self._read()
        return other is not None and other.get("writer") != self.name

    def leave(self) -> None:
        """Let others write at once."""
        self._place.remove(WRITER)

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._place.read(WRITER))
        except (UserError, ValueError):
            return None  # not there, or torn
        return found if isinstance(found, dict) else None
