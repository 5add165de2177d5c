"""Addresses of folders, such as ``s3://bucket/run``, told apart from paths and shown without their secrets."""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdsearch.paths import home

__all__ = ["Uri", "command_line", "folder", "local", "without_secrets"]

# Two letters or more: C:/ is a drive.
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")
_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")
_SECRET = re.compile(r"([?&][^=&\s]*(?:key|secret|token|password|credential)[^=&\s]*)=[^&\s'\"]+", re.IGNORECASE)


@dataclass(frozen=True)
class Uri:
    """The address of a folder; as text it has no secrets, so that whatever is printed or kept of it may be read.

    Attributes:
        whole: as it was given, perhaps with a password.
    """

    whole: str

    def __str__(self) -> str:
        return without_secrets(self.whole)

    __repr__ = __str__

    @property
    def name(self) -> str:
        """The last part of its path."""
        path = re.sub(r"[?#].*", "", self.whole).rstrip("/")
        return re.sub(r"[^\w.-]", "_", path.rsplit("/", 1)[-1])

    @property
    def key(self) -> str:
        """The name of a folder for it on this machine, the same whoever's password was given."""
        address = re.sub(r"//[^/\s:@]*:[^/\s@]+@", "//", self.whole.rstrip("/"))
        return f"{self.name}-{hashlib.sha256(without_secrets(address).encode()).hexdigest()[:12]}"


def folder(text: str) -> Path | Uri:
    """A folder of this machine, or the URI of one elsewhere."""
    return Uri(text) if _URI.match(text) else local(text)


def local(text: str) -> Path:
    """A path of this machine, where no address will do: taken for a path it would be a folder called ``s3:``."""
    if not text:
        raise argparse.ArgumentTypeError("wants a path, and was given none")
    if _URI.match(text):
        raise argparse.ArgumentTypeError(f"wants a path of this machine, not the address {without_secrets(text)}")
    return home(Path(text))


def command_line(module: str, given: Sequence[str]) -> str:
    """A command as it can be run again, for the record: without the secrets in its addresses."""
    return shlex.join(["python", "-m", module, *map(without_secrets, given)])


def without_secrets(text: str) -> str:
    """Text, perhaps a whole command, whose URIs show no password, key or token."""
    return _SECRET.sub(r"\1=***", _PASSWORD.sub(r"\1:***@", text))
