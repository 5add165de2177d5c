"""A full disk, a read-only one, and clocks that jump."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdsearch.search.study import read_study
from tests.faults.processes import wait
from tests.faults.searches import check_whole, environment, epochs, search, to_the_end

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
/* The time of day is off by the seconds in the file that KDSEARCH_CLOCK names; other clocks run on. */
static long offset(void) {
  const char *path = getenv("KDSEARCH_CLOCK");
  FILE *file = path ? fopen(path, "r") : NULL;
  long seconds = 0;
  if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
  return seconds;
}
int clock_gettime(clockid_t id, struct timespec *at) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int code = real(id, at);
  if (id == CLOCK_REALTIME) at->tv_sec += offset();
  return code;
}
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_ends_the_search_and_room_lets_it_go_on(small_disk: Path) -> None:
    output = small_disk / "run"
    arguments = {"trials": 8, "pause": 0.2, "epochs": 9, "scheduler": "none"}
    for log in ("run.log", "run.log.begun"):  # what the test itself notes down is not on that disk
        (small_disk / log).symlink_to(small_disk.parent / log)
    with search(output, **arguments) as process:
        wait(lambda: len(epochs(output)) >= 3)
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        text, _ = process.communicate(timeout=120)
    assert process.returncode == 2, text
    (line,) = [line for line in text.splitlines() if line.startswith("kdsearch: error: ")]
    assert "cannot be written (No space left on device): make room, then carry on with --resume" in line
    assert "Traceback" not in text
    assert len(read_study(output).get_trials()) >= 2
    filler.unlink()
    to_the_end(output, resume=True, **arguments)
    check_whole(output, 8)


def test_a_read_only_disk_is_refused_before_anything_starts(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with search(small_disk / "run", trials=2) as process:
        text, _ = process.communicate(timeout=120)
    assert process.returncode == 2, text
    (line,) = text.splitlines()
    assert line.startswith("kdsearch: error: --output ")
    assert "cannot be written: Read-only file system" in line


@pytest.mark.faults
def test_the_clock_jumps_a_day_forth_and_two_back(tmp_path: Path) -> None:
    """Time limits count seconds, whatever the time of day is set to; nothing is ended or waits because of it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler is needed to set a process's clock")
    (tmp_path / "clock.c").write_text(CLOCK)
    library, setting, output = tmp_path / "clock.so", tmp_path / "clock", tmp_path / "run"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "clock.c", "-ldl"], check=True)
    setting.write_text("0")
    env = environment(LD_PRELOAD=str(library), KDSEARCH_CLOCK=str(setting))
    shown = subprocess.run(["date", "+%s"], env=env | {"KDSEARCH_CLOCK": "/dev/null"}, capture_output=True, check=True)
    assert abs(int(shown.stdout) - time.time()) < 5
    setting.write_text("86400")
    shown = subprocess.run(["date", "+%s"], env=env, capture_output=True, check=True)
    assert abs(int(shown.stdout) - time.time() - 86400) < 5, "the clock did not jump: this test could not fail"
    setting.write_text("0")
    arguments = {"trials": 6, "pause": 0.3, "time_budget_s": 3000, "trial_timeout_s": 60, "scheduler": "asha"}
    with search(output, env=env, **arguments) as process:
        for jump in (86400, -86400, 0):
            enough = len(epochs(output)) + 3
            wait(lambda enough=enough, p=process: len(epochs(output)) >= enough or p.poll() is not None)
            setting.write_text(str(jump))
        text, _ = process.communicate(timeout=200)
    assert process.returncode == 0, text
    check_whole(output, 6)
    assert os.path.exists(output / "study.journal")
