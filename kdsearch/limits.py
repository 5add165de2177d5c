"""What this process may use of its machine: a container or a job of a batch system has less than there is."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

__all__ = ["cores", "free_memory"]

_CGROUP = Path("/sys/fs/cgroup")
# Where not even the operating system says.
_UNKNOWN_BYTES = 8 << 30


def cores(cgroup: Path = _CGROUP) -> int:
    """Cores, at least one: those this process may run on, and no more than its cgroup's share of time amounts to."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _numbers(cgroup / "cpu.max") or [  # version 2; below that 1
        *_numbers(cgroup / "cpu/cpu.cfs_quota_us"),
        *_numbers(cgroup / "cpu/cpu.cfs_period_us"),
    ]
    if len(quota) == 2 and min(quota) > 0:
        there = min(there, max(1, math.ceil(quota[0] / quota[1])))
    return there


def free_memory(cgroup: Path = _CGROUP, meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that machine and cgroup have without swapping; what only caches files counts as free."""
    free = _free_of_machine(meminfo)
    for limit, used, cached in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        most, now = _numbers(cgroup / limit), _numbers(cgroup / used)
        if most and now:
            free = min(free, max(0, most[0] - now[0] + _inactive_files(cgroup / cached)))
    return free


def _free_of_machine(meminfo: Path) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _UNKNOWN_BYTES


def _inactive_files(stat: Path) -> int:
    """Bytes of files that are cached and not in use, which a cgroup counts as used."""
    with contextlib.suppress(OSError, ValueError):
        told = dict(line.split() for line in stat.read_text(encoding="ascii").splitlines())
        return int(told.get("total_inactive_file", told.get("inactive_file", 0)))
    return 0


def _numbers(path: Path) -> list[int]:
    """The numbers of a file of a cgroup; none where it is not there or says that there is no limit."""
    try:
        return [int(word) for word in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []
