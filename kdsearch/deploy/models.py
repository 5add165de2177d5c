"""Any form of a trained network as one function from readings to forecasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdsearch.deploy.spec import ENTRY, Spec
from kdsearch.errors import UserError

__all__ = ["Model", "open_model"]

Array = NDArray[np.float32]
Minutes = NDArray[np.int64]


@dataclass(frozen=True)
class Model:
    """A network that forecasts.

    Attributes:
        spec: what to feed it.
        run: float32 readings ``[B, history, sensors]`` in ``spec.unit``, missing ones marked as ``spec.missing`` says,
            to the next step ``[B, sensors]`` and all steps ``[B, steps, sensors]``; and, where ``spec.clock``, int64
            minutes of the day ``[B]``, those of the last readings.
        form: ``"PyTorch"``, ``"onnx"`` or ``"pt2"``.
    """

    spec: Spec
    run: Callable[[Array, Minutes | None], tuple[Array, Array]]
    form: str


def open_model(
    path: Path, dataset: str | None = None, data_dir: Path | None = None, threads: int | None = None
) -> Model:
    """Open an exported model by its suffix, ``.onnx`` or ``.pt2``, or else a checkpoint or the folder of a search.

    Args:
        path: the file or the folder.
        dataset: see :func:`kdsearch.deploy.student.load_student`.
        data_dir: where that dataset's files lie.
        threads: of an ONNX model; None for the runtime's choice.

    Raises:
        UserError: it is not there, damaged, not of kdsearch, or a package is missing.
    """
    if path.suffix in (".onnx", ".pt2") and not path.is_dir():
        if not path.is_file():
            raise UserError(f"{path}: there is no such file; python -m kdsearch.export --model writes one")
        return _onnx(path, threads) if path.suffix == ".onnx" else _pt2(path)
    return _trained(path, dataset, data_dir)


def _onnx(path: Path, threads: int | None) -> Model:
    try:
        import onnxruntime
    except ImportError:
        raise UserError("an ONNX model needs the package onnxruntime: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a damaged or foreign file fails in many ways that mean the same to its user
        raise UserError(f"{path} is not a readable ONNX model ({type(error).__name__})") from None
    spec = Spec.read(session.get_modelmeta().custom_metadata_map.get(ENTRY), path)
    names = [given.name for given in session.get_inputs()]

    def run(readings: Array, minute: Minutes | None = None) -> tuple[Array, Array]:
        first, all_steps = session.run(None, dict(zip(names, [readings, minute], strict=False)))
        return first, all_steps

    return Model(spec, run, "onnx")


def _pt2(path: Path) -> Model:
    import torch

    files: dict[str, Any] = {ENTRY: ""}
    try:
        program = torch.export.load(path, extra_files=files)
    except Exception as error:
        raise UserError(f"{path} is not a readable pt2 model ({type(error).__name__})") from None
    return Model(Spec.read(files[ENTRY], path), _torch(program.module()), "pt2")


def _trained(path: Path, dataset: str | None, data_dir: Path | None) -> Model:
    from kdsearch.deploy.forecaster import Forecaster
    from kdsearch.deploy.student import load_student

    network, site = load_student(path, dataset, data_dir)
    return Model(Spec.of(site, network), _torch(Forecaster.of(network, site)), "PyTorch")


def _torch(module: Any) -> Callable[[Array, Minutes | None], tuple[Array, Array]]:
    import torch

    def run(readings: Array, minute: Minutes | None = None) -> tuple[Array, Array]:
        given = [torch.from_numpy(value) for value in [readings, minute] if value is not None]
        with torch.no_grad():
            first, all_steps = module(*given)
        return first.numpy(), all_steps.numpy()

    return run
