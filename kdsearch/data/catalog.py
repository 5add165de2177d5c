"""The datasets that have a name: what they consist of, where it is published, and how it is recognised."""

from __future__ import annotations

from dataclasses import dataclass

from kdsearch.data.dataset import Split
from kdsearch.data.declaration import Declaration, GraphFile, SpeedsFile

__all__ = ["KNOWN", "PUBLISHED", "Published", "RemoteFile"]

_GITHUB = "https://raw.githubusercontent.com"
_MIB = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        name: what it is called here.
        blob: its git blob id, see ``download.git_blob_id``.
        urls: addresses, tried in order.
        limit: more bytes than this are not downloaded.
        sha256: where it is known.
        aliases: other names under which it is published.
    """

    name: str
    blob: str
    urls: tuple[str, ...]
    limit: int
    sha256: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """A dataset that can be downloaded."""

    declaration: Declaration
    speeds: RemoteFile
    graph: RemoteFile


PUBLISHED: dict[str, Published] = {
    "pemsd7": Published(
        Declaration(
            name="pemsd7",
            speeds=SpeedsFile("PeMSD7_V_228.csv", format="csv"),
            graph=GraphFile("PeMSD7_W_228.csv"),
            split=Split(34, 5, 5),
            drop_incomplete_days=False,
            space="pemsd7",
        ),
        RemoteFile(
            "PeMSD7_V_228.csv",
            "2a76cb181e8e917c5d9b85891d26614981024fab",
            (
                f"{_GITHUB}/hazdzz/STGCN/main/data/pemsd7-m/vel.csv",
                f"{_GITHUB}/hazdzz/STGCN/de050cc05a36453eafe1bf7bac60401c6561e947/data/pemsd7-m/vel.csv",
            ),
            limit=32 * _MIB,
            aliases=("vel.csv",),
        ),
        RemoteFile(
            "PeMSD7_W_228.csv",
            "319f1ad20592bb619021148545520decbd1303b0",
            (
                f"{_GITHUB}/elahe-dastan/boogh/59a1f6b1207a773e380b4f3eadb0213f9845df0d/dataset/PeMSD7_W_228.csv",
                # The same, should the repository keep it in large-file storage.
                "https://media.githubusercontent.com/media/elahe-dastan/boogh/"
                "59a1f6b1207a773e380b4f3eadb0213f9845df0d/dataset/PeMSD7_W_228.csv",
            ),
            limit=1_299_600,
            sha256="c558c602b7937fb3ecb3835938fe8f61a34efa4c51e0ae3f61ed93ecc680060e",
        ),
    ),
    "pemsd8": Published(
        Declaration(
            name="pemsd8",
            speeds=SpeedsFile("pems08.npz", format="npz", key="data", channel=2),
            graph=GraphFile("distance.csv", format="edges"),
            split=Split(50, 6, 6),
            drop_incomplete_days=False,
            space="pemsd8",
        ),
        RemoteFile(
            "pems08.npz",
            "f5f3e84a00417573aa8487fe1e9e8cd13c6026c8",
            (f"{_GITHUB}/Davidham3/ASTGCN-2019-mxnet/master/data/PEMS08/pems08.npz",),
            limit=64 * _MIB,
        ),
        RemoteFile(
            "distance.csv",
            "cf11bea3ff4229d2d900fdcf1085828d25429c88",
            (
                f"{_GITHUB}/Davidham3/ASTGCN-2019-mxnet/master/data/PEMS08/distance.csv",
                f"{_GITHUB}/Davidham3/ASTGCN-2019-mxnet/a3a70af8a8ba903fa565e81fb74299d30a5f8cd1/data/PEMS08/distance.csv",
            ),
            limit=_MIB,
        ),
    ),
}

KNOWN: tuple[str, ...] = ("demo", *PUBLISHED)
