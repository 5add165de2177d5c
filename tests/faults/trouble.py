"""A bowl to search (``tests/search/objectives.py``) in which trials meet every kind of bad luck, by their ``x``."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from objectives import Bowl, BowlReport, BowlRun

__all__ = ["LUCK", "Trouble"]

# From x up to the next; below the first all is well.
LUCK = {0.3: "device", 0.4: "dies", 0.5: "raises", 0.6: "nan", 0.7: "memory beside others", 0.8: "memory", 0.9: "hangs"}


@dataclass
class Trouble(Bowl):
    """With ``luck``, misfortune strikes in the second epoch; every epoch that begins is a line of ``<log>.begun``."""

    luck: bool = False

    def trainer(self, params: Mapping[str, Any], device: str, seed: int) -> TroubleRun:
        return TroubleRun(self, float(params["x"]), float(params["rate"]), seed)


class TroubleRun(BowlRun):
    def epoch(self) -> BowlReport:
        if self.objective.log:
            with Path(f"{self.objective.log}.begun").open("a") as file:
                file.write(f"{os.getpid()} {self.x!r} {self.count + 1}\n")
        found = super().epoch()
        kinds = [kind for least, kind in LUCK.items() if self.x >= least]
        kind = kinds[-1] if kinds and self.objective.luck and self.count == 2 else None
        if kind == "device" and not (lost := Path(f"{self.objective.log}.lost")).exists():
            lost.touch()
            raise RuntimeError("CUDA error: an illegal memory access was encountered")  # as torch says it
        if kind == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "raises":
            raise RuntimeError("the bowl broke")
        elif kind == "nan":
            found.score = math.nan
        elif kind == "memory" or (kind == "memory beside others" and trials_here() > 1):
            torch.empty(1 << 52)  # the real thing: no machine has so much
        elif kind == "hangs":
            time.sleep(3600)
        return found


def trials_here() -> int:
    """Workers of this machine's raylet that have a trial or have had one."""
    count = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                title = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            count += parent == os.getppid() and title.startswith(b"ray::_Inner")
    return count
