"""A process on a real terminal, and what its screen shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Terminal:
    """Runs a command on a pseudo terminal.

    Args:
        words: the command.
        columns, lines: size of the terminal.
        environment: on top of this process's.
    """

    def __init__(
        self, words: Sequence[str], columns: int = 100, lines: int = 40, environment: Mapping[str, str] | None = None
    ) -> None:
        self.columns = columns
        self.raw = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

        def own_the_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        known = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=known | {"TERM": "xterm-256color"} | dict(environment or {}),
            preexec_fn=own_the_terminal,
        )
        os.close(slave)

    def read_until(self, there: Callable[[str], bool], seconds: float = 90.0) -> str:
        """Read what is written until ``there`` holds of all of it, or the process is gone."""
        deadline = time.monotonic() + seconds
        while not there(self.raw):
            if time.monotonic() > deadline:
                raise AssertionError(f"not seen in {seconds} s; the terminal has\n{self.screen()}")
            if not select.select([self._master], [], [], 0.2)[0]:
                continue
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the last writer has closed it
                data = b""
            if not data:
                break
            self.raw += data.decode("utf-8", "replace")
        return self.raw

    def type(self, keys: str) -> None:
        """Press keys; ``"\\x03"`` is Ctrl-C."""
        os.write(self._master, keys.encode())

    def wait(self) -> int:
        """Read to the end and return the exit code."""
        self.read_until(lambda _: False)
        return self.process.wait(60)

    def screen(self) -> str:
        """What a reader sees at the end, scrolled lines included."""
        rows, row, column = [""], 0, 0
        for match in _TOKEN.finditer(self.raw):
            arguments, action, carriage, newline, text = match.groups()
            if text is not None:
                for char in text:
                    if column == self.columns:
                        row, column = row + 1, 0
                    rows += [""] * (row + 1 - len(rows))
                    rows[row] = rows[row].ljust(column)[:column] + char + rows[row][column + 1 :]
                    column += 1
            elif carriage:
                column = 0
            elif newline:
                row, column = row + 1, 0 if not self.raw else column
                rows += [""] * (row + 1 - len(rows))
            elif action == "A":
                row = max(0, row - int(arguments or 1))
            elif action == "K":
                rows[row] = "" if arguments == "2" else rows[row][:column]
        return "\n".join(line.rstrip() for line in rows)
