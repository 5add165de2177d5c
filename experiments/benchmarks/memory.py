"""Resident memory of this process, as Linux tells it."""

from __future__ import annotations

import ctypes
import resource
from contextlib import suppress
from pathlib import Path

__all__ = ["peak", "reset_peak", "resident"]

_STATUS = Path("/proc/self/status")


def resident() -> int:
    """Bytes resident now; 0 where the system does not say."""
    return _field("VmRSS")


def peak() -> int:
    """Most bytes that were resident since :func:`reset_peak`, or since the start where that is not possible."""
    return _field("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak() -> None:
    """Count the peak from now on, without memory that was freed before and not yet given back."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _field(name: str) -> int:
    with suppress(OSError):
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0
