"""Processes of a search seen from outside, through /proc: who is below whom, who lives, who listens."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["alive", "command_of", "descendants", "kill", "listening", "wait", "workers"]

PATIENCE = 120.0


def wait(until: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Until something is so; an error if it never is."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def descendants(pid: int) -> set[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = set(), [pid]
    while todo:
        one = todo.pop()
        found.add(one)
        todo += children.get(one, [])
    return found


def alive(pids: Iterable[int]) -> set[int]:
    """Those that still run."""
    return {pid for pid in pids if (fields := _stat(pid)) and fields[0] != "Z"}


def command_of(pid: int) -> str:
    """The command line, empty for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def workers(pid: int) -> list[int]:
    """Ray's workers below a driver that run trials."""
    return [p for p in descendants(pid) if command_of(p).startswith("ray::_Inner")]  # as Tune calls them


def kill(pid: int) -> None:
    """SIGKILL, to one process that a test started."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def listening(pids: Iterable[int]) -> set[tuple[str, int]]:
    """Addresses and ports on which processes take TCP connections."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    target = os.readlink(entry)
                    if target.startswith("socket:["):
                        inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                found.add((_address(address), int(port, 16)))
    return found


def _address(text: str) -> str:
    """The kernel's hexadecimal words, each in the order of the machine."""
    raw = b"".join(bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8))
    address = ipaddress.ip_address(raw)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
