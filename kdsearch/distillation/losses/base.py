"""What a loss is, and the registry of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kdsearch.distillation.losses import imported
from kdsearch.distillation.teacher_batch import TeacherBatch
from kdsearch.errors import UserError, suggestion
from kdsearch.models.stgcn import Features

__all__ = [
    "Hyperparameter",
    "Loss",
    "LossTerms",
    "Needs",
    "Scale",
    "build",
    "get",
    "hyperparameters",
    "names",
    "protocol_of",
]


@dataclass(frozen=True)
class Hyperparameter:
    """One number of a loss, declared once; search spaces are checked against it.

    Attributes:
        name: as in search spaces, ``--set`` and ``best.json``.
        low, high: the values that make sense, both included. A search space may name a narrower range.
        log: whether a search should draw it on a logarithmic scale (then ``low`` > 0).
        default: a reasonable value.
        meaning: one line for people.
    """

    name: str
    low: float
    high: float
    default: float
    meaning: str
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low <= self.default <= self.high or (self.log and self.low <= 0):
            raise ValueError(f"hyperparameter {self.name}: needs low <= default <= high, and low > 0 with log")


@dataclass(frozen=True)
class Needs:
    """What of the teacher a loss reads; the bank keeps just that.

    Attributes:
        prediction: the teacher's forecasts.
        temporal_correlation, spatial_correlation: correlations of all temporal, all spatial layers.
        temporal_features, spatial_features: indices into ``Features.temporal`` and ``Features.spatial``.
    """

    prediction: bool = False
    temporal_correlation: bool = False
    spatial_correlation: bool = False
    temporal_features: tuple[int, ...] = ()
    spatial_features: tuple[int, ...] = ()

    @property
    def teacher(self) -> bool:
        """Whether the loss reads a teacher at all."""
        return self != Needs()


@dataclass(frozen=True)
class Scale:
    """The data's mean and standard deviation, for losses that work on speeds rather than z-scores (mph)."""

    mean: float
    std: float


@dataclass
class LossTerms:
    """What a loss gives back.

    Attributes:
        total: scalar to minimise.
        parts: detached scalars by name, for the log: "response", "temporal", "spatial", "teacher_share", ...
        task, distillation: the two weighted terms whose sum is ``total``, for losses that combine gradients themselves.
    """

    total: Tensor
    parts: dict[str, Tensor]
    task: Tensor | None = None
    distillation: Tensor | None = None

    def with_later(self, later: Tensor, parts: Mapping[str, Tensor], steps: int) -> LossTerms:
        """The mean over this step of a roll-out and ``steps`` later ones, whose mean response term is ``later``.

        What compares hidden features, which the first step alone has, so counts as one step's part. The parts of the
        response are means over all steps, ``parts`` being those of the later ones.
        """
        count = steps + 1
        whole = {name: (self.parts[name] + steps * value) / count for name, value in parts.items()}
        return LossTerms(
            (self.total + steps * later) / count,
            self.parts | whole | {"rollout": later.detach()},
            None if self.task is None else (self.task + steps * later) / count,
            None if self.distillation is None else self.distillation / count,
        )


class Loss(nn.Module):
    """A loss by name. Subclass it with a name and it can be built, listed and searched::

        class Huber(Loss, name="huber"):
            '''Huber loss to the target (Huber 1964).'''

            HYPERPARAMETERS = (Hyperparameter("delta", 0.01, 10.0, 1.0, "where it turns linear", log=True),)
            delta: float

            def forward(self, student, teacher, target, valid=None):
                error = F.huber_loss(student.prediction, target, delta=self.delta, reduction="none")
                response = masked_mean(error, valid)
                return LossTerms(response, {"response": response.detach()})

    Every hyperparameter becomes an attribute. A loss that reads the teacher declares what in ``NEEDS``; one that has
    weights to train makes them in :meth:`prepare` and they are found under ``parameters()``.
    """

    HYPERPARAMETERS: ClassVar[tuple[Hyperparameter, ...]] = ()
    NEEDS: ClassVar[Needs] = Needs()
    NEEDS_SCALE: ClassVar[bool] = False
    OWN_WEIGHTS: ClassVar[bool] = False  # shaped by the student's channels and trained with it
    name: ClassVar[str]

    def __init_subclass__(cls, name: str | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        if name is None:  # a base for other losses
            return
        known = _registry.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"two losses are called {name!r}: {known.__module__} and {cls.__module__}")
        cls.name = name
        _registry[name] = cls

    def __init__(self, scale: Scale | None = None, error: str = "squared", **values: float) -> None:
        super().__init__()
        if error not in ("squared", "absolute"):
            raise ValueError(f"error must be squared or absolute, got {error!r}")
        self.error = error
        if self.NEEDS_SCALE and scale is None:
            raise UserError(f"loss {self.name} works on speeds: build it with scale=Scale(mean, std) of the data")
        self.scale = scale
        for name, value in _checked(type(self), values).items():
            setattr(self, name, value)

    @property
    def needs(self) -> Needs:
        """What of the teacher this loss reads."""
        return self.NEEDS

    def prepare(self, student: Features, teacher: Features | TeacherBatch | None) -> None:
        """Make weights of the loss's own, if it has any, from the shapes of one example batch.

        The training loop calls this once, before it asks for ``parameters()``.
        """

    def __call__(
        self,
        student: Features,
        teacher: Features | TeacherBatch | None,
        target: Tensor,
        valid: Tensor | None = None,
    ) -> LossTerms:
        """:meth:`forward`, with 0 (the mean) for targets that were not measured."""
        if valid is not None:  # they may be NaN, and a gradient of 0 times NaN would be NaN
            target = torch.where(valid, target, 0.0)
        terms: LossTerms = super().__call__(student, teacher, target, valid)
        return terms

    def forward(
        self,
        student: Features,
        teacher: Features | TeacherBatch | None,
        target: Tensor,
        valid: Tensor | None = None,
    ) -> LossTerms:
        """The loss of one minibatch.

        Args:
            student: what ``STGCN.features`` gave; its prediction is z-scored ``[B, N]``, or ``[B, r, N]`` for an input
                that spans a run of r consecutive windows.
            teacher: the teacher's features or its rows of the bank; None if :attr:`needs` asks for nothing.
            target: z-scored, shaped like the prediction.
            valid: True where the target was measured, shaped like it; None if all were.
        """
        raise TypeError(f"{type(self).__name__} defines no forward()")

    def pointwise(self, difference: Tensor) -> Tensor:
        """Error of each forecast: its square, as in the paper, or its absolute value."""
        return difference.square() if self.error == "squared" else difference.abs()

    def response(
        self, prediction: Tensor, teacher: Tensor | None, target: Tensor, valid: Tensor | None, by_step: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What of the loss reads forecasts alone; every step of a roll-out pays it. Here: the error to the target.

        Args:
            prediction: the student's forecasts, z-scored ``[B, N]``, ``[B, r, N]`` of a run or ``[B, steps, N]``.
            teacher: the teacher's, shaped like them; None if :attr:`needs` asks for nothing.
            target: shaped like them, 0 where nothing was measured.
            valid: True where the target was measured; None if all were.
            by_step: the second axis holds the steps of a roll-out, whose errors differ in size.

        Returns:
            The scalar, and its parts for the log.
        """
        response = masked_mean(self.pointwise(prediction - target), valid)
        return response, {"response": response.detach()}

    def backward(self, terms: LossTerms, parameters: Iterable[nn.Parameter], scale: float = 1.0) -> None:
        """Add the gradient of ``scale * terms.total`` to ``.grad``. The training loop calls this.

        Args:
            terms: what this loss gave for the batch.
            parameters: the student's; a loss that changes gradients needs to know them.
            scale: factor of the loss (the original code's B * N / 2).
        """
        (terms.total * scale).backward()


_registry: dict[str, type[Loss]] = {}


def names() -> tuple[str, ...]:
    """Names of all losses, in the order they were registered."""
    return tuple(_registry)


def get(name: str) -> type[Loss]:
    """The class of a loss, by its name, or as ``module:Class`` of a module that can be imported from here.

    Raises:
        UserError: there is none of that name; the module cannot be imported or has no such loss.
    """
    if ":" in name:
        found = imported.find(name)
        if not (isinstance(found, type) and issubclass(found, Loss) and hasattr(found, "name")):
            raise UserError(f"loss {name!r} is no loss: subclass kdsearch.distillation.losses.Loss with a name")
        return found
    if name not in _registry:
        raise UserError(f"unknown loss {name!r}: choose one of {', '.join(_registry)}{suggestion(name, _registry)}")
    return _registry[name]


def hyperparameters(name: str) -> tuple[Hyperparameter, ...]:
    """The hyperparameters that a loss declares; all of them must be given to :func:`build`."""
    return get(name).HYPERPARAMETERS


def protocol_of(name: str) -> dict[str, str]:
    """What a result says of a loss that is not kdsearch's own: results of another text of it do not compare."""
    return {"loss_source": imported.source_digest(get(name).__module__)} if ":" in name else {}


def build(name: str, *, scale: Scale | None = None, error: str = "squared", **values: float) -> Loss:
    """A loss, ready to call: ``build("stcd", alpha1=0.17, alpha2=0.05, alpha3=0.31)``.

    Args:
        name: one of :func:`names`.
        scale: mean and deviation of the data; ``rd_kl`` cannot do without.
        error: ``"squared"`` or ``"absolute"`` error of forecasts.
        **values: every hyperparameter of the loss.

    Raises:
        UserError: unknown loss; a hyperparameter missing, unknown, or out of its range.
    """
    return get(name)(scale=scale, error=error, **values)


def _checked(loss: type[Loss], values: dict[str, float]) -> dict[str, float]:
    declared = {h.name: h for h in loss.HYPERPARAMETERS}
    takes = f"it takes {', '.join(declared)}" if declared else "it takes none"
    for name in values:
        if name not in declared:
            raise UserError(f"loss {loss.name} has no hyperparameter {name!r}: {takes}")
    for h in declared.values():
        if h.name not in values:
            raise UserError(f"loss {loss.name} misses hyperparameter {h.name}: {h.meaning}, {h.low:g} to {h.high:g}")
        value = values[h.name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"loss {loss.name}: {h.name} must be a number, got {value!r}")
        if not h.low <= value <= h.high:
            raise UserError(f"loss {loss.name}: {h.name}={value:g} is outside {h.low:g} to {h.high:g}")
    return {name: float(value) for name, value in values.items()}


def masked_mean(values: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over (b, i), of the valid ones where a mask is given; 0 if none is valid."""
    if valid is None:
        return values.mean()
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)


def run_length(prediction: Tensor) -> int:
    """How many consecutive windows the input spanned: 1 for ``[B, N]``, r for ``[B, r, N]``."""
    return 1 if prediction.dim() == 2 else prediction.shape[1]


def given(teacher: Tensor | None) -> Tensor:
    """The teacher's forecasts, of a loss that reads them."""
    if teacher is None:
        raise ValueError("this loss reads the teacher's forecasts and was given none")
    return teacher.detach()


def prediction_of(teacher: Features | TeacherBatch | None) -> Tensor:
    """The teacher's forecasts, without gradient."""
    if teacher is None:
        raise ValueError("this loss reads a teacher's prediction and was given no teacher")
    return teacher.prediction.detach()


def temporal_feature(teacher: Features | TeacherBatch | None, layer: int) -> Tensor:
    """The teacher's output of one temporal layer, without gradient."""
    return _held(teacher.temporal if teacher is not None else (), layer)


def spatial_feature(teacher: Features | TeacherBatch | None, layer: int) -> Tensor:
    """The teacher's output of one spatial layer, without gradient."""
    return _held(teacher.spatial if teacher is not None else (), layer)


def _held(features: Sequence[Tensor | None], layer: int) -> Tensor:
    feature = features[layer] if layer < len(features) else None
    if feature is None:
        raise ValueError(f"this loss reads the teacher's layer {layer}, which it was not given")
    return feature.detach()
