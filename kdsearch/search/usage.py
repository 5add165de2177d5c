"""How busy the machine is, looked at now and then by a thread that costs next to nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading

__all__ = ["Usage"]

_EVERY_S = 3.0
_QUERY = ("--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")


class Usage:
    """Shares of the processors and of the devices in use by whatever runs on this machine.

    Args:
        every: seconds between two looks.
    """

    def __init__(self, every: float = _EVERY_S) -> None:
        self._every = every
        self._over = threading.Event()
        self._before = _cpu_ticks()
        self._smi = shutil.which("nvidia-smi")
        self._cpu: float | None = None
        self._gpu = ""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look, also after a stop."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(self._over,), name="kdsearch-usage", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    def text(self) -> str:
        """``CPU 97% of 2 cores, GPU 85%, 31 of 80 GiB``; empty where nothing can be told."""
        cores = os.cpu_count() or 1
        cpu = "" if self._cpu is None else f"CPU {100 * self._cpu:.0f}% of {cores} core{'' if cores == 1 else 's'}"
        return ", ".join(part for part in (cpu, self._gpu) if part)

    def look(self) -> None:
        """Look once."""
        now = _cpu_ticks()
        if now is not None and self._before is not None and now[1] > self._before[1]:
            self._cpu = (now[0] - self._before[0]) / (now[1] - self._before[1])
        self._before = now
        if self._smi is not None:
            self._gpu = _gpus(self._smi)

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(self._every):
            with contextlib.suppress(Exception):  # a display is not worth an error
                self.look()


def _cpu_ticks() -> tuple[int, int] | None:
    """Busy and all clock ticks of all processors since the start of the machine; None where Linux is not."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, sum(ticks)


def _gpus(program: str) -> str:
    only = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    chosen = ("-i", only) if only and all(part.strip().isdigit() for part in only.split(",")) else ()
    asked = subprocess.run([program, *chosen, *_QUERY], capture_output=True, text=True, timeout=5, check=False)
    return gpu_text(asked.stdout) if asked.returncode == 0 else ""


def gpu_text(output: str) -> str:
    """What nvidia-smi printed, a line a device, in a few words."""
    rows = [[float(cell) for cell in line.split(",")] for line in output.splitlines() if line.strip()]
    if not rows:
        return ""
    busy = sum(row[0] for row in rows) / len(rows)
    used, total = sum(row[1] for row in rows) / 1024, sum(row[2] for row in rows) / 1024
    several = f" of {len(rows)} devices" if len(rows) > 1 else ""
    return f"GPU {busy:.0f}%{several}, {used:.0f} of {total:.0f} GiB"
