"""Sees to it that a local Ray does not outlive a killed driver, and takes its folder away.

Ray's servers die with their driver by themselves, but its agents linger for a minute or more, trying to reach them. A
process of the standard library only waits for the driver's end of a pipe to close. Run as a script, ``-I -S``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["Reaper"]

_DONE = "done"
# Time for Ray to end by itself.
_GRACE_S = 1.0


class Reaper:
    """Watches over this process; used from :func:`kdsearch.search.session.ray_session`.

    Args:
        folder: removed if this process is killed.
    """

    def __init__(self, folder: str | None) -> None:
        self._process: subprocess.Popen[str] | None = None
        if not Path("/proc/self/stat").exists():
            return
        # A session of its own: Ctrl-C goes to all processes of a terminal's foreground group.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, folder or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def watch(self) -> None:
        """Take note of all processes below this one."""
        if self._process is None:
            return
        for pid in descendants(os.getpid()) - {self._process.pid}:
            began = started(pid)
            if began is not None:
                self._say(f"{pid} {began}")

    def dismiss(self) -> None:
        """Ray has been shut down in good order."""
        if self._process is not None:
            self._say(_DONE)
            with contextlib.suppress(OSError):
                self._process.communicate(timeout=5)

    def _say(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()


def descendants(pid: int) -> set[int]:
    """All processes below one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found.update(below)
        todo += below
    return found


def started(pid: int) -> str | None:
    """When a process began, in the kernel's ticks: tells it from a later one of the same number."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else fields[19]


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def main() -> None:
    """The watching process: read until the pipe closes, then end what is left."""
    watched: list[tuple[int, str]] = []
    for line in sys.stdin:
        if line.strip() == _DONE:
            return
        pid, began = line.split()
        watched.append((int(pid), began))
    time.sleep(_GRACE_S)
    # Whatever they have started since: workers, mostly.
    for pid, began in [*watched]:
        if started(pid) == began:
            watched += [(p, s) for p in descendants(pid) if (s := started(p)) is not None]
    for pid, began in watched:
        if started(pid) == began:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
    if len(sys.argv) > 1 and sys.argv[1]:
        shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
