"""TensorBoard event files, written at once and without a thread per run.

``torch.utils.tensorboard`` imports torch, keeps a queue and a thread for each writer and puts the hyperparameters into
a run of their own. A search driver wants none of that: here each batch of scalars is one record, on disk when the call
returns.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter

__all__ = ["Run"]

_number = itertools.count()


class Run:
    """One run of TensorBoard: a folder with event files. Opening it again adds a file; TensorBoard joins them.

    Args:
        folder: the run's folder, made if it is not there.

    Attributes:
        folder: the run's folder.
        continued: the folder held events before.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.continued = folder.is_dir() and any(folder.glob("events.out.tfevents.*"))
        folder.mkdir(parents=True, exist_ok=True)
        # Files of a run are read in the order of their names; the process id and a counter keep them apart.
        name = f"events.out.tfevents.{time.time():017.6f}.{os.getpid()}.{next(_number)}"
        self._file = (folder / name).open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write scalars by tag at a step."""
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def histogram(self, tag: str, step: int, limits: Sequence[float], counts: Sequence[int]) -> None:
        """Write a histogram by tag at a step.

        Args:
            tag: where it is shown.
            step: its place on the axis of time.
            limits: upper limits of the bins, ascending.
            counts: values in each bin.
        """
        width = (limits[-1] - limits[0]) / (len(limits) - 1) if limits[-1] > limits[0] else 1.0
        low = limits[0] - width
        middles = [(a + b) / 2 for a, b in itertools.pairwise([low, *limits])]
        histogram = HistogramProto(
            min=low,
            max=limits[-1],
            num=sum(counts),
            sum=sum(n * x for n, x in zip(counts, middles, strict=True)),
            sum_squares=sum(n * x * x for n, x in zip(counts, middles, strict=True)),
            bucket_limit=limits,
            bucket=counts,
        )
        value = Summary.Value(tag=tag, histo=histogram)
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])))

    def restart(self, step: int) -> None:
        """Forget what an earlier file of this run holds at ``step`` and later."""
        self._write(Event(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START)))

    def experiment(self, hparams: Mapping[str, Any], metrics: Mapping[str, str]) -> None:
        """Declare the columns of the HParams tab: the hyperparameters, and the metrics (tag to heading)."""
        infos = [api_pb2.HParamInfo(name=name, type=_type(value)) for name, value in hparams.items()]
        wanted = [
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=heading)
            for tag, heading in metrics.items()
        ]
        content = api_pb2.Experiment(hparam_infos=infos, metric_infos=wanted, time_created_secs=time.time())
        self._hparams(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=content))

    def start(self, group: str, hparams: Mapping[str, Any]) -> None:
        """Declare this run's hyperparameters: one row of the HParams tab."""
        info = SessionStartInfo(group_name=group, start_time_secs=time.time())
        for name, value in hparams.items():
            if isinstance(value, bool):
                info.hparams[name].bool_value = value
            elif isinstance(value, (int, float)):
                info.hparams[name].number_value = value
            else:
                info.hparams[name].string_value = str(value)
        self._hparams(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=info))

    def end(self, succeeded: bool) -> None:
        """Say in the HParams tab how the run ended."""
        status = api_pb2.STATUS_SUCCESS if succeeded else api_pb2.STATUS_FAILURE
        info = SessionEndInfo(status=status, end_time_secs=time.time())
        self._hparams(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=info))

    def close(self) -> None:
        """Close the file; closing twice does no harm."""
        with contextlib.suppress(OSError):  # all that could be written was written by the call that made it
            self._file.close()

    def _hparams(self, tag: str, data: HParamsPluginData) -> None:
        data.version = metadata.PLUGIN_DATA_VERSION
        plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
        value = Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))
        self._write(Event(wall_time=time.time(), summary=Summary(value=[value])))

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
        self._file.flush()


def _type(value: object) -> int:
    if isinstance(value, bool):
        return int(api_pb2.DATA_TYPE_BOOL)
    return int(api_pb2.DATA_TYPE_FLOAT64 if isinstance(value, (int, float)) else api_pb2.DATA_TYPE_STRING)
