"""What a search learns from: speed readings, the road graph, and windows over them.

``load`` turns a known name or the path of a TOML declaration into a :class:`Dataset` (numpy only); :class:`Windows`
puts one part of it on a device (torch, imported when first asked for, so that a mistake in a data file is told
before torch has loaded).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdsearch.data.dataset import Dataset, Split
from kdsearch.data.loading import load

if TYPE_CHECKING:
    from kdsearch.data.windows import Windows

__all__ = ["Dataset", "Split", "Windows", "load"]


def __getattr__(name: str) -> Any:
    if name == "Windows":
        from kdsearch.data.windows import Windows

        return Windows
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
