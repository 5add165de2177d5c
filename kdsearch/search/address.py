"""The address of a Ray cluster, checked before Ray is asked: it would try a wrong one for minutes."""

from __future__ import annotations

import re
import socket

from kdsearch.errors import UserError

__all__ = ["check_address"]

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):(\d{1,5})")
_PATIENCE_S = 5.0


def check_address(address: str) -> None:
    """Refuse what is no address, or one where nothing listens.

    Args:
        address: ``"auto"``, which Ray looks up itself, or ``host:port`` of a cluster's head (6379 unless it was
            started otherwise).

    Raises:
        UserError: in one sentence.
    """
    if address == "auto":
        return
    match = _ADDRESS.fullmatch(address)
    port = int(match.group(2)) if match else 0
    if match is None or not 0 < port < 65536:
        raise UserError(f"--address {address!r}: wants auto, or host:port of a cluster's head, such as 10.0.0.5:6379")
    try:
        socket.create_connection((match.group(1).strip("[]"), port), timeout=_PATIENCE_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({reason}): start one with ray start --head, or leave "
            "--address out to run on this machine"
        ) from error
