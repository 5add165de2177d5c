"""Figure 3: hidden representations of 50 test windows, of each student beside those of its teacher.

The paper does not say how its points were projected. Here: 50 windows evenly spaced over the test days; of each, the
output of the last temporal layer of the last block before LayerNorm, averaged over channels, because student and
teacher differ in their number: one number a time step and sensor. Scale and offset of hidden numbers mean nothing
between networks, so those of each network are shifted and scaled to mean 0 and deviation 1 over all 50 windows. The
plane is that of the first two principal components of the teacher's 50 points, the same for all students of a teacher.

Two figures say what a plane may hide: linear CKA (Kornblith et al. 2019, Eq. 3) of the whole layers with all channels,
1 for equal up to rotation and scale; and the mean distance between a student's point and its teacher's, before the
projection, over the mean distance of the teacher's points from their centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from experiments.picture import BLUE, GREY, STYLE, VERMILION
from experiments.reproduce.plots import drawn
from experiments.reproduce.rows import ROWS
from experiments.reproduce.study import Study
from kdsearch.data import Dataset, Windows
from kdsearch.errors import UserError
from kdsearch.models.stgcn import STGCN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["KEYS", "POINTS", "Projection", "cka", "draw", "project", "representations"]

KEYS = (
    *("none", "rd_l2", "rd_kl", "skd", "fitnet", "at", "nst", "ord", "tcd", "scd", "stcd"),
    *("kdis-97", "best-stcd"),
)
POINTS = 50


@torch.no_grad()
def representations(network: STGCN, dataset: Dataset) -> Tensor:
    """Outputs of the last temporal layer for :data:`POINTS` test windows, ``[points, T, N, C]`` in float64."""
    windows = Windows(dataset, "test")
    index = torch.linspace(0, len(windows) - 1, min(POINTS, len(windows))).round().long()
    day, start = windows.locate(index)
    x = windows.inputs(day, start)
    return network.features(x.unsqueeze(-1), start).temporal[-1].double()


def cka(a: Tensor, b: Tensor) -> float:
    """Linear centred kernel alignment of two representations of the same points ``[P, ...]``: 0 to 1."""

    def gram(x: Tensor) -> Tensor:
        flat = x.reshape(len(x), -1)
        flat = flat - flat.mean(dim=0)
        return flat @ flat.t()

    first, second = gram(a), gram(b)
    size = first.norm() * second.norm()
    return float((first * second).sum() / size) if size > 0 else math.nan


@dataclass(frozen=True)
class Projection:
    """Points of a student and its teacher in the teacher's plane.

    Attributes:
        teacher, student: ``[P, 2]``.
        explained: share of the teacher's variance that each axis shows.
        gap: mean distance between pairs before the projection, over the teacher's mean distance from its centre.
    """

    teacher: Tensor
    student: Tensor
    explained: tuple[float, float]
    gap: float


def project(teacher: Tensor, student: Tensor) -> Projection:
    """Project representations ``[P, T, N, C]`` and ``[P, T, N, C']``."""
    points = [_standard(x.mean(dim=-1).flatten(1)) for x in (teacher, student)]
    centre = points[0].mean(dim=0)
    own, other = points[0] - centre, points[1] - centre
    _, values, axes = torch.linalg.svd(own, full_matrices=False)
    # A singular vector has no sign: take the one whose largest entry is positive, for the same picture everywhere.
    largest = axes.abs().argmax(dim=1, keepdim=True)
    axes = axes * axes.gather(1, largest).sign()
    share = values.square() / values.square().sum()
    plane = axes[:2].t()
    gap = float((own - other).norm(dim=1).mean() / own.norm(dim=1).mean())
    return Projection(own @ plane, other @ plane, (float(share[0]), float(share[1])), gap)


def _standard(x: Tensor) -> Tensor:
    return (x - x.mean()) / x.std().clamp(min=1e-12)


def draw(study: Study) -> Figure:
    """A panel a student, the network of its best seed by validation.

    Raises:
        UserError: none of its rows was trained.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = [ROWS[key] for key in KEYS if study.trained(ROWS[key]) and study.has_teacher(ROWS[key])]
    if not rows:
        raise UserError("--figures 3: no student and teacher of it are trained")
    with rc_context({**STYLE, "font.size": 9.5, "axes.titlesize": 9.5}):
        down = math.ceil(len(rows) / 5)
        across = math.ceil(len(rows) / down)
        figure = Figure(figsize=(2.6 * across + 0.5, 2.55 * down + 0.9), layout="constrained", facecolor="white")
        grid = figure.subplots(down, across, squeeze=False).flatten()
        panels = []
        for axes, row in zip(grid, rows, strict=False):
            teacher = representations(study.networks(row.network("teacher"))[0], study.dataset)
            student = representations(study.network(row), study.dataset)
            found = project(teacher, student)
            name = drawn(row.label).removeprefix("Student ").replace("best recipe", "best recipe (own teacher)")
            _draw_panel(axes, found, f"{name[:1].upper()}{name[1:]}", cka(teacher, student))
            panels.append((axes, row.recipe, found))
        for axes in grid[len(rows) :]:
            axes.set_axis_off()
        _share_limits(panels)
        first = panels[0][2].explained
        figure.supxlabel(f"first principal component of the teacher ({first[0]:.0%} of its variance)", fontsize=10)
        figure.supylabel(f"second principal component ({first[1]:.0%})", fontsize=10)
        title = f"Hidden representations of {POINTS} test windows, student and teacher: {study.heading}"
        figure.suptitle(title, fontsize=11, fontweight="bold")
        handles, labels = grid[0].get_legend_handles_labels()
        if len(grid) > len(rows):  # a free panel
            grid[-1].legend(handles, labels, loc="center", frameon=False, fontsize=9.5)
        else:
            figure.legend(handles, labels, loc="outside lower right", ncols=2, frameon=False, fontsize=9.5)
    return figure


def _draw_panel(axes: Axes, found: Projection, name: str, alike: float) -> None:
    for own, other in zip(found.teacher.tolist(), found.student.tolist(), strict=True):
        axes.plot([own[0], other[0]], [own[1], other[1]], color=GREY, linewidth=0.5, alpha=0.5, zorder=1)
    axes.scatter(*found.teacher.t().tolist(), s=16, color=BLUE, marker="o", linewidths=0, label="teacher", zorder=2)
    axes.scatter(
        *found.student.t().tolist(),
        s=18,
        facecolors="none",
        edgecolors=VERMILION,
        marker="^",
        label="student",
        zorder=3,
    )
    axes.set_title(name, loc="left")
    axes.annotate(
        f"CKA {alike:.2f}, distance {found.gap:.2f}",
        (0.03, 0.03),
        xycoords="axes fraction",
        fontsize=8.5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        zorder=5,
    )


def _share_limits(panels: list[tuple[Axes, str, Projection]]) -> None:
    """The same axes for all students of a teacher, so that distances compare."""
    for recipe in {recipe for _, recipe, _ in panels}:
        group = [(axes, found) for axes, r, found in panels if r == recipe]
        points = torch.cat([torch.cat((found.teacher, found.student)) for _, found in group])
        low, high = points.min(dim=0).values, points.max(dim=0).values
        room = 0.08 * (high - low)
        for axes, _ in group:
            axes.set_xlim(float(low[0] - room[0]), float(high[0] + room[0]))
            axes.set_ylim(float(low[1] - 2.5 * room[1]), float(high[1] + room[1]))
