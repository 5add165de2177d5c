"""Ctrl-C, SIGTERM and the time budget: one flag that asks a search to end, and a second signal that ends it at once."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Literal, NoReturn, Self

__all__ = ["Reason", "StopRequest", "sigterm_as_interrupt"]

Reason = Literal["interrupted", "time budget"]


class StopRequest:
    """Catches SIGINT and SIGTERM for the time of a ``with`` and watches the clock.

    Args:
        budget_s: seconds until the search is asked to end; None for no limit.

    Attributes:
        silent: a live view has the terminal and tells of the first signal itself.
    """

    def __init__(self, budget_s: float | None = None) -> None:
        self._deadline = math.inf if budget_s is None else time.monotonic() + budget_s
        self._signalled = False
        self.silent = False
        self._before: dict[int, Any] = {}

    @property
    def reason(self) -> Reason | None:
        """Why to end, None while there is no reason."""
        if self._signalled:
            return "interrupted"
        return "time budget" if time.monotonic() >= self._deadline else None

    def install(self) -> None:
        """Take the signals; called again after Ray has started, which takes SIGTERM for itself."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.signal(number, self._on_signal)
            self._before.setdefault(number, before)

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, before in self._before.items():
                signal.signal(number, before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signalled:
            # Ray's processes die with this one; the journal is whole after every record.
            if self.silent:
                os.write(sys.stderr.fileno(), b"\n")  # off the last line of the view
            os._exit(128 + number)
        self._signalled = True
        if self.silent:
            return
        name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        os.write(sys.stderr.fileno(), f"\n{name}: ending, everything is kept; once more ends at once\n".encode())


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM, as a batch system sends it when time is up, is Ctrl-C for the time of a ``with``."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
