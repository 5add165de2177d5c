"""Exporting a student: one file with its weights, its graph, its normalisation and its treatment of gaps."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from kdsearch.atomic import atomic_write
from kdsearch.deploy.agreement import Agreement, agreement, minutes_like, readings_like
from kdsearch.deploy.folded import Folded
from kdsearch.deploy.forecaster import Forecaster
from kdsearch.deploy.models import open_model
from kdsearch.deploy.spec import ENTRY, Spec
from kdsearch.deploy.student import Student
from kdsearch.errors import UserError

__all__ = ["KINDS", "Written", "check_packages", "default_file", "write_student"]

KINDS = ("onnx", "pt2")
_INPUTS, _OUTPUTS = ("readings", "minute"), ("next", "forecast")
_OPSET = 17


class Written(NamedTuple):
    """An exported model.

    Attributes:
        path: its file.
        bytes: size of the file.
        spec: what it says of itself.
        agreement: how far its forecasts lie from those of the trained network.
    """

    path: Path
    bytes: int
    spec: Spec
    agreement: Agreement


def default_file(output: Path, kind: str) -> Path:
    """Where a model goes unless the user says: beside the results of its search."""
    return (output if output.is_dir() else output.parent) / f"student.{kind}"


def check_packages(kind: str) -> None:
    """Refuse early what could not be written.

    Raises:
        UserError: a package is missing; the sentence has the line that installs it.
    """
    wanted = ("onnx", "onnxruntime") if kind == "onnx" else ()
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX needs the package {missing[0]}, which is not installed: pip install onnx onnxruntime")


def write_student(student: Student, kind: str, path: Path) -> Written:
    """Export a student and check the file against PyTorch before it gets its name.

    Args:
        student: trained, pruned or not; a pruned one is written in its small shape.
        kind: ``"onnx"`` for any ONNX runtime, ``"pt2"`` for PyTorch without kdsearch.
        path: the file.

    The model takes ``readings [B, n_his, N]`` in the site's unit and gives ``next [B, N]`` and
    ``forecast [B, n_pred, N]`` in the same unit, for any B. Missing readings are treated inside. One that looks at the
    time of day also takes ``minute [B]``, int64, of the day, that of the last reading.

    Raises:
        UserError: a package is missing, the file cannot be written, or forecasts differ by more than roundings.
    """
    check_packages(kind)
    network, site = student
    spec = Spec.of(site, network)
    model = Forecaster(Folded(network, site.n_pred), site).eval()
    given = (readings_like(site, 2), minutes_like(network, 2))
    example = tuple(torch.from_numpy(value) for value in given if value is not None)
    try:
        with atomic_write(path, ending=f".{kind}") as temporary:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's remarks on its own exporters; the check below is what counts
                _WRITERS[kind](model, example, spec, temporary)
            found = agreement(student, open_model(temporary))
            if not found.holds:
                raise UserError(
                    f"{path} was not written: forecasts of the exported model differ from PyTorch's by "
                    f"{found.next:.1e} standard deviations one step ahead and {found.forecast:.1e} over all steps, "
                    "more than roundings explain; another version of the package may help"
                )
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    return Written(path, path.stat().st_size, spec, found)


def _write_onnx(model: Forecaster, example: tuple[torch.Tensor, ...], spec: Spec, path: Path) -> None:
    # By tracing: no other shape of the folded network depends on the batch, and the newer exporter took 15 times as
    # long for a file half as large again.
    import onnx

    batch, inputs = {0: "batch"}, _INPUTS[: len(example)]
    torch.onnx.export(
        model,
        example,
        str(path),
        dynamo=False,
        opset_version=_OPSET,
        input_names=list(inputs),
        output_names=list(_OUTPUTS),
        dynamic_axes=dict.fromkeys((*inputs, *_OUTPUTS), batch),
    )
    proto = onnx.load(str(path))
    proto.metadata_props.add(key=ENTRY, value=spec.text())
    proto.doc_string = (
        f"{spec.dataset}: {spec.history} readings of {spec.sensors} sensors in {spec.unit}, every {spec.minutes} "
        f"minutes, to forecasts {spec.ahead[0]} to {spec.ahead[-1]} minutes ahead"
    )
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))


def _write_pt2(model: Forecaster, example: tuple[torch.Tensor, ...], spec: Spec, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model, example, dynamic_shapes=tuple({0: batch} for _ in example))
    torch.export.save(program, path, extra_files={ENTRY: spec.text()})


_Writer = Callable[[Forecaster, tuple[torch.Tensor, ...], Spec, Path], None]
_WRITERS: dict[str, _Writer] = {"onnx": _write_onnx, "pt2": _write_pt2}
