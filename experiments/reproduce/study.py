"""All that was trained, as tables and figures ask for it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.reproduce.kept import Record
from experiments.reproduce.plans import Params, RowPlan, Task
from experiments.reproduce.rows import Row
from experiments.reproduce.settings import Settings
from kdsearch.data import Dataset
from kdsearch.results.paper import DATASETS
from kdsearch.results.result import Figure
from kdsearch.results.significance import Sample

if TYPE_CHECKING:
    from kdsearch.models.stgcn import STGCN

__all__ = ["Study", "figure_of"]


@dataclass(frozen=True)
class Study:
    """Rows on one dataset.

    Attributes:
        settings: what was asked for.
        plans: of the rows that were not skipped, by key.
        tasks: trainings by key.
        records: what each gave.
    """

    settings: Settings
    plans: Mapping[str, RowPlan]
    tasks: Mapping[str, Task]
    records: Mapping[str, Record]

    @property
    def dataset(self) -> Dataset:
        """That all rows are of."""
        return next(iter(self.plans.values())).plan.dataset

    @property
    def cache(self) -> Path:
        """Folder of trained networks."""
        return next(iter(self.plans.values())).plan.cache

    @property
    def heading(self) -> str:
        """The dataset's name over a table."""
        return DATASETS.get(self.dataset.name, self.dataset.name)

    def has(self, row: Row) -> bool:
        """Whether the row was not skipped."""
        return row.key in self.plans

    def finished(self, row: Row) -> bool:
        """Whether it was not skipped and each of its trainings has come to an end."""
        return self.has(row) and all(task.key in self.records for task in self.tasks_of(row))

    def params(self, row: Row) -> Params:
        """Hyperparameters and where they are from."""
        return self.plans[row.key].params

    def tasks_of(self, row: Row) -> list[Task]:
        """Its trainings in the order of the seeds."""
        return [task for task in self.tasks.values() if task.row.key == row.key]

    def records_of(self, row: Row) -> list[Record]:
        """Its results in the order of the seeds."""
        return [self.records[task.key] for task in self.tasks_of(row)]

    def errors_of(self, row: Row) -> list[str]:
        """Why trainings of the row have no result."""
        seeds: dict[str, list[str]] = {}
        for record in self.records_of(row):
            if record.error:
                seeds.setdefault(record.error, []).append(str(record.seed))
        return [f"{row.label.plain}, seed {', '.join(found)}: {why}" for why, found in seeds.items()]

    def sample(self, row: Row, name: str) -> Sample:
        """A test figure such as ``"mae_15"`` of every seed; empty where a training of the row failed."""
        records = self.records_of(row)
        values = [] if any(r.error for r in records) else [r.test[name] for r in records]
        return Sample(values, row.seeded)

    def figure(self, row: Row, name: str) -> Figure:
        """Its mean and deviation; NaN where a training failed."""
        return figure_of(self.sample(row, name).values)

    def network(self, row: Row) -> STGCN:
        """The trained network of the seed with the lowest validation score; test days choose nothing."""
        from experiments.reproduce.work import network_of

        tried = [(r.validation["score"], t) for t in self.tasks_of(row) if not (r := self.records[t.key]).error]
        return network_of(min(tried, key=lambda pair: pair[0])[1], self.dataset, self.cache)

    def networks(self, row: Row) -> list[STGCN]:
        """The trained networks of all seeds, in their order."""
        from experiments.reproduce.work import network_of

        tasks = [task for task in self.tasks_of(row) if not self.records[task.key].error]
        return [network_of(task, self.dataset, self.cache) for task in tasks]

    def trained(self, row: Row) -> bool:
        """Whether there is a network to look at."""
        return self.finished(row) and any(not r.error for r in self.records_of(row))

    def has_teacher(self, row: Row) -> bool:
        """Whether there is the teacher that goes with a row, which may have no row of its own, to look at."""
        tasks = self.tasks_of(row.network("teacher"))
        records = [self.records.get(task.key) for task in tasks]
        return bool(records) and all(record is not None and not record.error for record in records)


def figure_of(values: Sequence[float]) -> Figure:
    """Mean and deviation; no deviation of a single value, NaN of none."""
    if not values:
        return Figure(math.nan)
    return Figure(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
