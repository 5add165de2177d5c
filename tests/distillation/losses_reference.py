"""The equations of the losses once more: slow loops in double precision that share nothing with the package."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np


def correlation(a, b):
    """Mean over channels of |a - b|: one entry of Eq. 7 or 9."""
    return sum(abs(float(x) - float(y)) for x, y in zip(a, b, strict=True)) / len(a)


def scd(student, teacher):
    """Eq. 10 on [B, T, N, C] arrays."""
    batch, steps, n, _ = student.shape
    total = 0.0
    for b in range(batch):
        for t in range(steps):
            for i, j in combinations(range(n), 2):
                total += (
                    correlation(student[b, t, i], student[b, t, j]) - correlation(teacher[b, t, i], teacher[b, t, j])
                ) ** 2
    return total / (batch * steps * math.comb(n, 2))


def tcd(student, teacher):
    """Eq. 8 on [B, T, N, C] arrays."""
    batch, steps, n, _ = student.shape
    total = 0.0
    for b in range(batch):
        for k in range(n):
            for i, j in combinations(range(steps), 2):
                total += (
                    correlation(student[b, i, k], student[b, j, k]) - correlation(teacher[b, i, k], teacher[b, j, k])
                ) ** 2
    return total / (batch * n * math.comb(steps, 2))


def squared(student, target, valid):
    """Mean squared error over the valid entries."""
    errors = [(s - t) ** 2 for s, t, ok in zip(student.flat, target.flat, valid.flat, strict=True) if ok]
    return sum(errors) / len(errors)


def kl(student, teacher, mean, std, valid):
    """Generalised divergence of speeds in the scale of a squared error."""
    total, count = 0.0, 0
    for s, t, ok in zip(student.flat, teacher.flat, valid.flat, strict=True):
        if ok:
            p, q = max(t * std + mean, 0.01 * mean), max(s * std + mean, 0.01 * mean)
            total += (p * math.log(p / q) - p + q) * 2 * mean / std**2
            count += 1
    return total / count


def ord_(student, teacher, target, alpha1, valid):
    """Eqs. 4-6, and the share of entries that follow the teacher."""
    places = [k for k, ok in enumerate(valid.flat) if ok]
    d = {k: abs(teacher.flat[k] - target.flat[k]) for k in places}
    low, high = min(d.values()), max(d.values())
    total, follows = 0.0, 0
    for k in places:
        scaled = (d[k] - low) / (high - low)
        if scaled <= alpha1:
            total += (student.flat[k] - target.flat[k]) ** 2
        else:
            total += (student.flat[k] - teacher.flat[k]) ** 2
            follows += 1
    return total / len(places), follows / len(places)


def graph_matching(student, teacher):
    """Smooth L1 of distance matrices over their means, [B, M, C] arrays."""
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        pairs = list(combinations(range(len(s)), 2))
        ds = np.array([math.dist(s[i], s[j]) for i, j in pairs])
        dt = np.array([math.dist(t[i], t[j]) for i, j in pairs])
        for z in ds / ds.mean() - dt / dt.mean():
            total += 0.5 * z * z if abs(z) < 1 else abs(z) - 0.5
    return total / (len(student) * len(pairs))


def attention(student, teacher):
    """Squared distance of the normalised attention maps, mean over batch and steps of [B, T, N, C] arrays."""
    batch, steps = student.shape[:2]
    total = 0.0
    for b in range(batch):
        for t in range(steps):
            maps = []
            for f in (student[b, t], teacher[b, t]):
                a = np.array([np.mean([v * v for v in node]) for node in f])
                maps.append(a / math.sqrt(sum(a * a)))
            total += sum((maps[0] - maps[1]) ** 2)
    return total / (batch * steps)


def selectivity(student, teacher):
    """Squared MMD with the kernel (x.y)^2 between normalised channel patterns."""
    batch, steps = student.shape[:2]
    total = 0.0

    def mean_kernel(xs, ys):
        return np.mean([np.dot(x, y) ** 2 for x in xs for y in ys])

    for b in range(batch):
        for t in range(steps):
            s = [c / np.linalg.norm(c) for c in student[b, t].T]
            u = [c / np.linalg.norm(c) for c in teacher[b, t].T]
            total += mean_kernel(s, s) + mean_kernel(u, u) - 2 * mean_kernel(s, u)
    return total / (batch * steps)


def hint(student, teacher, weight, bias):
    """Mean squared error of the regressed features."""
    total, count = 0.0, 0
    for place in np.ndindex(student.shape[:3]):
        for out in range(teacher.shape[3]):
            r = bias[out] + sum(weight[out, c] * student[place][c] for c in range(student.shape[3]))
            total += (r - teacher[place][out]) ** 2
            count += 1
    return total / count
