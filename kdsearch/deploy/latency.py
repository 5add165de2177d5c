"""How long each form of a student takes to forecast, beside the teacher's network."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kdsearch.deploy.agreement import minutes_like, readings_like
from kdsearch.deploy.forecaster import Forecaster
from kdsearch.deploy.models import open_model
from kdsearch.deploy.student import Student
from kdsearch.deploy.write import KINDS, check_packages, write_student
from kdsearch.training.network import layout_of, new_network
from kdsearch.training.recipe import PAPER

__all__ = ["BATCHES", "Row", "latencies", "shown"]

BATCHES = (1, 64)
_TURNS = 5
# A turn of a form ends after so long: a large teacher takes seconds to forecast.
_TURN_SECONDS = 1.0


class Row(NamedTuple):
    """Median time of a whole forecast, from raw readings to all steps, by windows in a batch.

    Attributes:
        form: which network, in which form.
        parameters: of the network.
        seconds: by size of batch.
    """

    form: str
    parameters: int
    seconds: dict[int, float]


def latencies(
    student: Student, runs: int = 50, batches: Sequence[int] = BATCHES, files: Mapping[str, Path] | None = None
) -> list[Row]:
    """Time the teacher's network, the student's and both exported forms on the CPU with torch's number of threads.

    The forms take turns, so that all of them share what else the machine does. The teacher's weights are fresh: they do
    not change the time.

    Args:
        student: trained.
        runs: forecasts of each form and size, or as many as fit into five seconds, and five at least.
        batches: sizes.
        files: exported ones by kind, where there are; the others are written for the purpose.
    """
    files = files or {}
    for kind in KINDS:
        check_packages(kind)
    network, site = student
    # Networks that look at the time of day have teachers that do.
    teacher = new_network(site, layout_of("teacher", "best" if network.layout.calendar else PAPER), seed=0).eval()
    with tempfile.TemporaryDirectory(prefix="kdsearch-") as folder:
        forms: dict[str, tuple[int, Callable[[Any, Any], Any]]] = {
            "teacher, PyTorch": (teacher.n_parameters(), _native(teacher, site)),
            "student, PyTorch": (network.n_parameters(), _native(network, site)),
        }
        for kind in KINDS:
            path = files.get(kind) or write_student(student, kind, Path(folder) / f"student.{kind}").path
            forms[f"student, {kind}"] = (network.n_parameters(), open_model(path, threads=torch.get_num_threads()).run)
        rows = [Row(name, parameters, {}) for name, (parameters, _) in forms.items()]
        for batch in batches:
            readings, minute = readings_like(site, batch), minutes_like(network, batch)
            seconds: dict[str, list[float]] = {name: [] for name in forms}
            for _ in range(_TURNS):
                for name, (_, forecast) in forms.items():
                    forecast(readings, minute)  # the first of a turn finds the caches cold
                    turn = time.perf_counter()
                    for _ in range(-(-runs // _TURNS)):
                        began = time.perf_counter()
                        forecast(readings, minute)
                        seconds[name].append((ended := time.perf_counter()) - began)
                        if ended - turn >= _TURN_SECONDS:
                            break
            for row in rows:
                row.seconds[batch] = statistics.median(seconds[row.form])
    return rows


def _native(network: Any, site: Any) -> Callable[[Any, Any], Any]:
    model = Forecaster.of(network, site)

    def forecast(readings: Any, minute: Any) -> Any:
        with torch.no_grad():
            return model(torch.from_numpy(readings), None if minute is None else torch.from_numpy(minute))

    return forecast


def shown(rows: Sequence[Row]) -> str:
    """The rows as a table for a terminal."""
    batches = list(rows[0].seconds)
    lines = [f"{'ms a forecast of all steps, by batch':<38}" + "".join(f"{f'{b}':>10}" for b in batches)]
    for row in rows:
        label = f"{row.form} ({row.parameters:,} parameters)"
        lines.append(f"{label:<38}" + "".join(f"{1e3 * row.seconds[b]:>10.2f}" for b in batches))
    return "\n".join(lines)
