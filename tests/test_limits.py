"""Limits of containers, from files as the kernel writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kdsearch.limits import cores, free_memory
from kdsearch.search.resources import local_machine

THERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write(folder: Path, content: dict[str, str]) -> Path:
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, THERE),
        ({"cpu.max": "max 100000\n"}, THERE),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, min(2, THERE)),
        ({"cpu.max": "6400000 100000\n"}, THERE if THERE < 64 else 64),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, THERE),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "garbage"}, THERE),
    ],
)
def test_cores(tmp_path: Path, content: dict[str, str], expected: int) -> None:
    assert cores(write(tmp_path, content)) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, 4096000),
        ({"memory.max": "max\n", "memory.current": "1000\n"}, 4096000),
        ({"memory.max": "3000\n", "memory.current": "1000\n"}, 2000),
        ({"memory.max": "3000\n", "memory.current": "1000\n", "memory.stat": "anon 1\ninactive_file 400\n"}, 2400),
        ({"memory.max": "3000\n", "memory.current": "9000\n"}, 0),
        ({"memory/memory.limit_in_bytes": "3000\n", "memory/memory.usage_in_bytes": "500\n"}, 2500),
        ({"memory/memory.limit_in_bytes": str(1 << 62), "memory/memory.usage_in_bytes": "500\n"}, 4096000),
    ],
)
def test_free_memory(tmp_path: Path, content: dict[str, str], expected: int) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000 kB\nMemFree: 1 kB\nMemAvailable:    4000 kB\n")
    assert free_memory(write(tmp_path / "cgroup", content), meminfo) == expected


def test_without_a_word_from_the_kernel_the_pages_are_counted(tmp_path: Path) -> None:
    assert free_memory(tmp_path, tmp_path / "none") > 1 << 20


def test_this_machine_is_what_may_be_used() -> None:
    assert local_machine().nodes[0].cpus == cores()
