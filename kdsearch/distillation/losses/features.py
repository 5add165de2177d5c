"""Rival losses on hidden features: FitNets, attention transfer, neuron selectivity transfer.

They come from image networks. Read for this one (readings): a map or an activation vector runs over the nodes of one
time step, so it does not depend on the window it is seen from; losses are means over batch, time steps and layers; the
task term is the squared error to the target with weight 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdsearch.distillation.correlation import steps_weight
from kdsearch.distillation.losses.base import (
    Hyperparameter,
    Loss,
    LossTerms,
    Needs,
    Scale,
    run_length,
    spatial_feature,
    temporal_feature,
)
from kdsearch.distillation.teacher_batch import TeacherBatch
from kdsearch.models.stgcn import Features

__all__ = ["AttentionTransfer", "FitNet", "NeuronSelectivity"]

# Added to squared norms: a channel that is silent at all nodes must not send an endless gradient.
_EPSILON = 1e-12


class _FeatureLoss(Loss):
    """``(y^s - T)^2 + weight * distance``, both means."""

    weight: float

    def forward(
        self, student: Features, teacher: Features | TeacherBatch | None, target: Tensor, valid: Tensor | None = None
    ) -> LossTerms:
        """Parts: "response", "distillation"."""
        self.prepare(student, teacher)
        response, _ = self.response(student.prediction, None, target, valid)
        run = run_length(student.prediction)
        pairs = [(student.temporal[k], temporal_feature(teacher, k)) for k in self.needs.temporal_features]
        pairs += [(student.spatial[k], spatial_feature(teacher, k)) for k in self.needs.spatial_features]
        distances = [_over_windows(self.distance(s, t.to(s.dtype)), run) for s, t in pairs]
        distance = torch.stack(distances).mean()
        parts = {"response": response.detach(), "distillation": distance.detach()}
        return LossTerms(response + self.weight * distance, parts)

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """``[B, T, N, C], [B, T, N, C'] -> [B, T]``."""
        raise TypeError(f"{type(self).__name__} defines no distance()")


def _over_windows(values: Tensor, run: int) -> Tensor:
    """Mean of ``values [B, T]`` over the windows of a run, in which inner steps count more often."""
    return (values * steps_weight(values, run)).sum(dim=1).mean()


class FitNet(_FeatureLoss, name="fitnet"):
    """Romero et al. 2014, Eq. 3: ``mean (F^t - r(F^s))^2`` with a learned regressor r.

    Hint and guided layer are the middle hidden ones: the output of block 1, its last temporal layer (reading). r is a
    1x1 convolution with bias from the student's channels to the teacher's; its weights belong to this loss and are
    trained with the student's. Both terms are minimised together, not in two stages (reading).
    """

    HYPERPARAMETERS = (Hyperparameter("weight", 1e-4, 1e2, 0.1, "weight of the hint", log=True),)
    NEEDS = Needs(temporal_features=(1,))
    OWN_WEIGHTS = True

    def __init__(self, scale: Scale | None = None, error: str = "squared", **values: float) -> None:
        super().__init__(scale, error, **values)
        self.regressor: nn.Linear | None = None

    def prepare(self, student: Features, teacher: Features | TeacherBatch | None) -> None:
        """Make the regressor, once, for the channels of student and teacher."""
        if self.regressor is None:
            mine, theirs = student.temporal[1], temporal_feature(teacher, 1)
            channels = mine.shape[-1], theirs.shape[-1]
            self.regressor = nn.Linear(*channels, device=mine.device, dtype=mine.dtype)

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean squared error over nodes and channels of each step, ``[B, T]``."""
        assert self.regressor is not None
        return (self.regressor(student) - teacher).square().mean(dim=(2, 3))


class AttentionTransfer(_FeatureLoss, name="at"):
    """Zagoruyko & Komodakis 2016, Eq. 2 with squared distance: ``|| A^s / ||A^s|| - A^t / ||A^t|| ||^2``.

    The attention map A of a layer is the mean of squares over its channels, a vector over nodes for every time step;
    all temporal and spatial layers of both blocks take part.
    """

    HYPERPARAMETERS = (Hyperparameter("weight", 1e-3, 1e3, 1.0, "weight of the attention maps", log=True),)
    NEEDS = Needs(temporal_features=(0, 1, 2, 3), spatial_features=(0, 1))

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Squared distance of the normalised maps of each step, ``[B, T]``, at most 2."""
        mine, theirs = (_normalised(f.square().mean(dim=3), dim=2) for f in (student, teacher))
        return (mine - theirs).square().sum(dim=2)


class NeuronSelectivity(_FeatureLoss, name="nst"):
    """Huang & Wang 2017, Eqs. 3, 6: squared MMD between the channels' activation patterns, kernel ``(x^T y)^2``.

    A channel's pattern is its vector over the nodes of one time step, normalised; layers are the outputs of the two
    blocks. ``mean K(t, t') + mean K(s, s') - 2 mean K(t, s)`` over pairs of channels needs the channels' products only.
    """

    HYPERPARAMETERS = (Hyperparameter("weight", 1e-3, 1e3, 1.0, "weight of the discrepancy", log=True),)
    NEEDS = Needs(temporal_features=(1, 3))

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Squared maximum mean discrepancy of each step, ``[B, T]``."""
        s, t = (_normalised(f.transpose(2, 3), dim=3) for f in (student, teacher))
        with torch.no_grad():
            within = (t @ t.mT).square().mean(dim=(2, 3))
        across = (s @ t.mT).square().mean(dim=(2, 3))
        return within + (s @ s.mT).square().mean(dim=(2, 3)) - 2.0 * across


def _normalised(x: Tensor, dim: int) -> Tensor:
    return x * (x.square().sum(dim=dim, keepdim=True) + _EPSILON).rsqrt()
