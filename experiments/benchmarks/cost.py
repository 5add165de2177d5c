"""Operations and bytes that an update cannot do without, counted from the equations: the roofline's two axes.

Bytes are those of an ideal device whose caches hold what one layer needs: a layer reads its input and writes its
output once, and its backward pass reads input and output gradient and writes the input gradient. What a real update
moves more than this (concatenated taps, separate elementwise kernels) is what it could still save.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kdsearch.models.layout import Layout

__all__ = ["Cost", "least_seconds", "pass_cost", "update_cost"]

_FLOAT = 4  # bytes
_CODE = 2  # bytes of a packed correlation


@dataclass(frozen=True)
class Cost:
    """Floating-point operations (a multiply-add is two) and bytes to or from memory."""

    flops: float
    bytes: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.bytes + other.bytes)


def least_seconds(cost: Cost, flops: float, bandwidth: float) -> float:
    """The roofline: a device of so many operations and bytes a second needs at least the larger of two times."""
    return max(cost.flops / flops, cost.bytes / bandwidth)


def update_cost(
    channels: Sequence[Sequence[int]], n: int, batch: int, pairs: int | None, n_his: int = 12, ks: int = 3, kt: int = 3
) -> dict[str, Cost]:
    """Cost of one update by part: "network", and with ``pairs`` also "L_TCD" and "L_SCD".

    Args:
        channels: of the student's blocks.
        n: nodes.
        batch: windows.
        pairs: node pairs of a time step that L_SCD compares; None for a loss without correlations.
        n_his: steps of a window.
        ks: order of the graph convolutions.
        kt: width of the temporal ones.
    """
    layers = list(_layers(channels, batch, n_his, ks, kt, n))
    # Backward: one product for the weights' gradient and one for the input's; the graph has no gradient.
    flops = sum(3 * layer.flops - layer.unlearned for layer in layers)
    moved = sum(3 * layer.taken + 2 * layer.given for layer in layers)
    parameters = sum(layer.parameters for layer in layers)
    # RMSprop reads weight, gradient and mean square, and writes two of them.
    network = Cost(flops + 8 * parameters, _FLOAT * (moved + 5 * parameters))
    if pairs is None:
        return {"network": network}
    parts = {"network": network, "L_TCD": Cost(0, 0), "L_SCD": Cost(0, 0)}
    steps = n_his
    for _, c_mid, c_out in channels:
        for kind, width in (("in", c_mid), ("out", c_out)):
            steps -= kt - 1
            size = batch * steps * n * width
            found = batch * n * steps * (steps - 1) // 2
            parts["L_TCD"] += Cost(_pair_flops(width) * found, 2 * _FLOAT * size + _CODE * found)
            if kind == "in":  # the spatial layer stands behind it, as wide
                found = batch * steps * pairs
                parts["L_SCD"] += Cost(_pair_flops(width) * found, 2 * _FLOAT * size + _CODE * found)
    return parts


def pass_cost(channels: Sequence[Sequence[int]], n: int, steps: int, n_his: int = 12, ks: int = 3, kt: int = 3) -> Cost:
    """Cost of one forward pass over ``steps`` time steps, such as the teacher's over a day."""
    layers = list(_layers(channels, 1, steps, ks, kt, n, n_his))
    moved = sum(layer.taken + layer.given + layer.parameters for layer in layers)
    return Cost(sum(layer.flops for layer in layers), _FLOAT * moved)


def _pair_flops(width: int) -> int:
    """Of one pair: difference, absolute value and sum a channel, six for the error, and four a channel backwards."""
    return 3 * width + 6 + 4 * width


@dataclass(frozen=True)
class _Layer:
    """Forward operations, numbers read and written, parameters, and operations with what is not learned."""

    flops: float
    taken: int
    given: int
    parameters: int
    unlearned: float = 0.0


def _layers(
    channels: Sequence[Sequence[int]], batch: int, steps: int, ks: int, kt: int, n: int, n_his: int | None = None
) -> Iterator[_Layer]:
    layout = Layout.of(tuple((a, b, c) for a, b, c in channels))
    window = steps if n_his is None else n_his

    def temporal(c_in: int, c_out: int, width: int, kernel: int, after: int) -> _Layer:
        size = batch * n
        mapped = c_in * c_out if c_in > c_out else 0
        flops = size * after * (2 * kernel * c_in * width + 2 * mapped + 6 * c_out)
        return _Layer(
            flops,
            size * (after + kernel - 1) * c_in,
            size * after * c_out,
            kernel * c_in * width + width + mapped,
        )

    def norm(c: int, at: int) -> _Layer:
        size = batch * n * at * c
        return _Layer(8 * size, size, size, 2 * n * c)

    for c_in, c_mid, c_out in layout.blocks:
        steps, window = steps - (kt - 1), window - (kt - 1)
        yield temporal(c_in, c_mid, 2 * c_mid, kt, steps)
        size = batch * n * steps
        graph, rest = 2 * (ks - 1) * n * c_mid, 2 * ks * c_mid * c_mid + 3 * c_mid
        taken, given, weights = size * c_mid + (ks - 1) * n * n, size * c_mid, ks * c_mid * c_mid + c_mid
        yield _Layer(size * (graph + rest), taken, given, weights, size * graph)
        steps, window = steps - (kt - 1), window - (kt - 1)
        yield temporal(c_mid, c_out, c_out, kt, steps)
        yield norm(c_out, steps)
    c_glu, c_sigmoid = layout.head
    steps -= window - 1
    yield temporal(layout.blocks[-1][-1], c_glu, 2 * c_glu, window, steps)
    yield norm(c_glu, steps)
    yield temporal(c_glu, c_sigmoid, c_sigmoid, 1, steps)
    yield _Layer(2 * batch * n * steps * c_sigmoid, batch * n * steps * c_sigmoid, batch * n * steps, c_sigmoid + n)
