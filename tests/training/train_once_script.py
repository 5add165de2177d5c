"""Trains the tiny network once, in a process of its own: ``cache log [go|-] [epoch to die after|0]``.

Every epoch that is trained appends a line to the log.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch

from kdsearch.distillation import losses
from kdsearch.training import reference
from kdsearch.training.fit import EpochReport
from kdsearch.training.settings import FitSettings
from tests.training.tiny import CHANNELS, tiny

SETTINGS = FitSettings(epochs=5, batch_size=20, learning_rate=3e-3)


def main() -> None:
    cache, log, go, last = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    reference._SAVE_EVERY_S = 0.0
    data = tiny()

    def on_epoch(report: EpochReport) -> None:
        with log.open("a") as file:
            file.write(f"{report.epoch}\n")
        if report.epoch == last:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.1)  # long enough that the other process arrives in the middle

    print("ready", flush=True)
    while str(go) != "-" and not go.exists():
        time.sleep(0.01)
    found, cached = reference.train_once(
        data, "net", CHANNELS, losses.build("none"), SETTINGS, cache, on_epoch=on_epoch,
        on_wait=lambda: print("waiting"),
    )  # fmt: skip
    print("cached" if cached else "trained", found.epoch, found.validation["score"])


if __name__ == "__main__":
    main()
