"""What ``experiments.reproduce`` was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kdsearch.job.settings import BANK_MEMORY

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """The command's arguments; ``None`` where the search space's defaults decide.

    Attributes:
        dataset: known name, or path of a TOML declaration.
        tables, figures: numbers of the paper's, and names of ours.
        seeds: how many trainings each row has; they are numbered from ``seed + 1``, as those of a confirmation.
        seed: of teacher and base model.
        skip: keys of rows to leave out.
        teachers: how many a mean of teachers is of; their seeds are ``seed``, ``seed + 1`` and so on.
        epochs, teacher_epochs, teacher_run_length: as for tune.
        astgcn_epochs: of ASTGCN, which takes far longer an epoch on a CPU; None: as the students.
        timing_batch, timing_runs: of Table 1.
        data_dir, cache_dir, store: folders, as for tune.
        output: folder of what is built.
        records: results of earlier trainings, read where no network is needed.
        show: train nothing; rows that are not finished are left out.
        concurrency, gpus_per_trial, cpus_per_trial, address: as for tune.
        bank_memory: bytes that a teacher bank may take; fixed, for what is sampled is part of what was trained, and
            must not change with the memory that is free.
        resume: carry on with what ``output`` was begun with, and refuse anything else.
        dpi: of pictures.
        command: the command line, for the record.
    """

    dataset: str = "demo"
    tables: tuple[int | str, ...] = ()
    figures: tuple[int | str, ...] = ()
    seeds: int = 5
    seed: int = 0
    skip: tuple[str, ...] = ()
    teachers: int = 3
    epochs: int | None = None
    teacher_epochs: int | None = None
    teacher_run_length: int | None = None
    astgcn_epochs: int | None = None
    timing_batch: int = 1140
    timing_runs: int = 100
    data_dir: Path | None = None
    cache_dir: Path | None = None
    store: Path | None = None
    output: Path | None = None
    records: Path | None = None
    show: bool = False
    concurrency: int | Literal["auto"] = "auto"
    gpus_per_trial: float | Literal["auto"] = "auto"
    cpus_per_trial: int = 1
    address: str | None = None
    bank_memory: int = BANK_MEMORY
    resume: bool = False
    dpi: int = 150
    command: str = ""

    @property
    def row_seeds(self) -> tuple[int, ...]:
        """Seeds of every row that has some."""
        return tuple(self.seed + 1 + k for k in range(self.seeds))

    def lengths(self) -> dict[str, Any]:
        """What decides the figures, beside data and rows: for the record, and to tell whether a run is the same."""
        names = ("seeds", "seed", "teachers", "epochs", "teacher_epochs", "teacher_run_length", "astgcn_epochs")
        return {name: getattr(self, name) for name in names}
