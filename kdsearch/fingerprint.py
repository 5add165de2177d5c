"""What identifies a result: the code, the versions, the protocol."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import kdsearch

__all__ = ["code", "digest", "versions"]


def code() -> str:
    """16 hex digits that change with any Python file of the package."""
    root = Path(kdsearch.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:16]


def digest(what: Mapping[str, Any]) -> str:
    """16 hex digits of plain values, the same for the same content in any order."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=list).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Of what computes: kdsearch, Python, and the libraries a result may depend on."""
    found = {"kdsearch": kdsearch.__version__, "python": platform.python_version()}
    for name in ("torch", "ray", "optuna", "numpy", "numba"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
