"""Losses of a user's own module, named ``module:Class`` wherever a loss is named."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from kdsearch.errors import UserError, suggestion

__all__ = ["find", "source_digest"]


def find(reference: str) -> Any:
    """The object that a reference means; the working folder is looked in too, as the installed script does not.

    Raises:
        UserError: the module cannot be imported, or has nothing of that name.
    """
    module_name, _, name = reference.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise UserError(f"loss {reference!r}: wants module:Class, such as my_losses:Huber")
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name not in (module_name, module_name.split(".")[0]):
            raise UserError(
                f"loss {reference!r}: {module_name} needs the module {error.name}, which is absent"
            ) from None
        raise UserError(
            f"loss {reference!r}: there is no module {module_name} here; run from the folder of {module_name}.py, or "
            "put that folder into PYTHONPATH"
        ) from None
    except Exception as error:
        raise UserError(
            f"loss {reference!r}: importing {module_name} fails ({type(error).__name__}: {error})"
        ) from error
    if not hasattr(module, name):
        raise UserError(f"loss {reference!r}: {module_name} has no {name}{suggestion(name, dir(module))}")
    return getattr(module, name)


def source_digest(module: str) -> str:
    """16 hex digits of the file of a module that has been imported."""
    file = getattr(sys.modules[module], "__file__", None)
    return hashlib.sha256(Path(file).read_bytes() if file else module.encode()).hexdigest()[:16]
