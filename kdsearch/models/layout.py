"""The shape of an STGCN: the width of every layer, and which channel a residual adds to which."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, get_args

__all__ = ["Affine", "Channels", "Layout", "Residual", "published_residual"]

Affine = Literal["full", "rank1"]
Channels = tuple[tuple[int, int, int], ...]

# None: a trained bias-free 1x1 map. Else, for each input channel, the output channel it is added to; -1: to none.
Residual = tuple[int, ...] | None


def published_residual(c_in: int, c_out: int) -> Residual:
    """Yu et al. 2018: a 1x1 map where channels get fewer, else channel j is added to channel j (zero padding)."""
    return None if c_in > c_out else tuple(range(c_in))


@dataclass(frozen=True)
class Layout:
    """All that the shape of a network consists of, pruned or not.

    Attributes:
        blocks: per block ``(c_in, c_mid, c_out)``, as "Hidden Blocks Channel" of Table 1.
        head: channels of the head's GLU layer and of its sigmoid layer; as published, both are the last block's.
        residuals: of every GLU and ReLU layer in order: two a block, then the head's GLU.
        persistence: whether the network forecasts the change from the window's last reading, so that one that says
            nothing is copy-last (the last value that NLinear takes away and adds again: Zeng et al., AAAI 2023). The
            paper's networks forecast the reading itself.
        affine: what LayerNorm's gain and shift are: ``"full"``, one of each for every node and channel as published, or
            ``"rank1"``, a factor of the node times one of the channel, which leaves more of a small network's
            parameters to its convolutions.
        calendar: how many steps ahead the network is told, beside every reading, by how much the speed there usually
            changes from that time of day on, one input channel each. The paper's networks see readings alone.

    Raises:
        ValueError: widths that do not meet, are below one, or residuals that do not fit them.
    """

    blocks: Channels
    head: tuple[int, int]
    residuals: tuple[Residual, ...]
    persistence: bool = False
    affine: Affine = "full"
    calendar: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.affine not in get_args(Affine):
            raise ValueError(f"affine must be one of {', '.join(get_args(Affine))}, got {self.affine!r}")
        if any(ahead < 1 for ahead in self.calendar):
            raise ValueError(f"a calendar looks at least one step ahead, got {list(self.calendar)}")
        if self.calendar and self.blocks[0][0] != 1 + len(self.calendar):
            raise ValueError(
                f"the first block takes {self.blocks[0][0]} channels, a reading and what the calendar tells are "
                f"{1 + len(self.calendar)}"
            )
        for before, after in itertools.pairwise(self.blocks):
            if before[-1] != after[0]:
                raise ValueError(f"channels of consecutive blocks do not meet: {list(before)} -> {list(after)}")
        if min(*itertools.chain(*self.blocks), *self.head) < 1:
            raise ValueError(f"every layer needs a channel: blocks {self.blocks}, head {self.head}")
        widths = self._widths(self.blocks, self.head[0])
        if len(self.residuals) != len(widths):
            raise ValueError(f"{len(widths)} layers have a residual, got {len(self.residuals)}")
        for residual, (c_in, c_out) in zip(self.residuals, widths, strict=True):
            if residual is None:
                continue
            used = [j for j in residual if j != -1]
            if len(residual) != c_in or len(set(used)) != len(used) or not all(0 <= j < c_out for j in used):
                raise ValueError(f"residual {list(residual)} does not lead from {c_in} channels to {c_out}")

    @staticmethod
    def _widths(blocks: Channels, head: int) -> list[tuple[int, int]]:
        """Input and output channels of every layer with a residual."""
        inner = [pair for c_in, c_mid, c_out in blocks for pair in ((c_in, c_mid), (c_mid, c_out))]
        return [*inner, (blocks[-1][-1], head)]

    @classmethod
    def of(cls, channels: Sequence[Sequence[int]], calendar: Sequence[int] = ()) -> Layout:
        """The published network with these blocks, the first of which also takes what a calendar tells."""
        blocks: Channels = tuple((int(a), int(b), int(c)) for a, b, c in channels)
        last = blocks[-1][-1]
        c_in, c_mid, c_out = blocks[0]
        blocks = ((c_in + len(calendar), c_mid, c_out), *blocks[1:])
        residuals = tuple(published_residual(a, b) for a, b in cls._widths(blocks, last))
        return cls(blocks, (last, last), residuals, calendar=tuple(calendar))

    @property
    def published(self) -> bool:
        """Whether the blocks alone say it all."""
        return self == Layout.of(self.blocks)

    def plain(self) -> dict[str, Any]:
        """As plain values, for a file."""
        usual = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        # What is as published is left out, as in files written before there was anything else.
        return {name: value for name, value in asdict(self).items() if name not in usual or value != usual[name]}

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Layout:
        """Read what :meth:`plain` gave, lists or tuples.

        Raises:
            ValueError, KeyError, TypeError: it is no layout.
        """
        glu, sigmoid = value["head"]
        return cls(
            tuple((int(a), int(b), int(c)) for a, b, c in value["blocks"]),
            (int(glu), int(sigmoid)),
            tuple(None if r is None else tuple(int(j) for j in r) for r in value["residuals"]),
            bool(value.get("persistence", False)),
            value.get("affine", "full"),
            tuple(int(ahead) for ahead in value.get("calendar", ())),
        )
