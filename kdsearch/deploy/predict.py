"""``kdsearch.predict``, whole: from recent readings to the next 45 minutes."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdsearch.deploy.models import open_model
from kdsearch.deploy.readings import read_recent
from kdsearch.deploy.spec import Spec
from kdsearch.errors import UserError

__all__ = ["PredictSettings", "run_predict"]


@dataclass(frozen=True)
class PredictSettings:
    """The command's arguments.

    Attributes:
        model: folder of a search, checkpoint, ``.onnx`` or ``.pt2``.
        readings, key, channel, skip_columns: see :func:`kdsearch.deploy.readings.read_recent`.
        minute: of the day, of the last reading; for models that look at the time of day.
        format: ``"csv"`` or ``"json"``.
        file: where to write; None for the terminal.
        dataset, data_dir: of a checkpoint of an earlier version.
    """

    model: Path
    readings: Path
    key: str | None = None
    channel: int | None = None
    skip_columns: int = 0
    minute: int | None = None
    format: str = "csv"
    file: Path | None = None
    dataset: str | None = None
    data_dir: Path | None = None


def run_predict(settings: PredictSettings) -> int:
    """Forecast and write.

    Returns:
        Exit code 0.

    Raises:
        UserError: model or readings cannot be used, or the file cannot be written.
    """
    model = open_model(settings.model, settings.dataset, settings.data_dir)
    if model.spec.clock and settings.minute is None:
        raise UserError(
            f"--time: {settings.model} looks at the time of day; give that of the last reading, such as --time 08:35"
        )
    recent = read_recent(settings.readings, model.spec, settings.key, settings.channel, settings.skip_columns)
    if recent.silent:
        what = "sensor has" if recent.silent == 1 else "sensors have"
        print(f"note: {recent.silent} {what} no reading; forecast from the mean of all", file=sys.stderr)
    minute = np.array([settings.minute], np.int64) if model.spec.clock else None
    _, forecast = model.run(recent.window, minute)
    text = _FORMATS[settings.format](forecast[0], model.spec, recent.names)
    if settings.file is None:
        sys.stdout.write(text)
    else:
        from kdsearch.results.files import write_text

        write_text(settings.file, text)
        print(f"written to {settings.file}")
    return 0


def _csv(forecast: NDArray[np.float32], spec: Spec, names: list[str]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["minutes", *names])
    writer.writerows([minutes, *map(_shown, row)] for minutes, row in zip(spec.ahead, forecast, strict=True))
    return out.getvalue()


def _json(forecast: NDArray[np.float32], spec: Spec, names: list[str]) -> str:
    document = {
        "dataset": spec.dataset,
        "unit": spec.unit,
        "minutes": spec.ahead,
        "sensors": names,
        "speeds": [[_shown(value) for value in row] for row in forecast],
    }
    return json.dumps(document, indent=1) + "\n"


def _shown(value: np.float32) -> float:
    """Four decimals: more than a reading has, and than single precision tells apart at 100."""
    return round(float(value), 4)


_FORMATS = {"csv": _csv, "json": _json}
