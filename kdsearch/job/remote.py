"""A search whose output lies behind a URI: it works in a folder of the cache, which is copied there as it grows.

Locks and a journal that is appended to need a file system of this machine. What lies behind the URI is enough to carry
the search on from another one: results, journal, states of trials, and the networks that all trials look at.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kdsearch.job.plan import Plan
from kdsearch.remote.copies import bring, bring_networks
from kdsearch.remote.mirror import EVERY_S, Mirror
from kdsearch.remote.place import Place
from kdsearch.remote.uri import Uri
from kdsearch.remote.writer import Writer
from kdsearch.search.settings import output_lock
from kdsearch.training.reference import default_cache, path_of

__all__ = ["WorkingCopy", "working_copy"]


@dataclass(frozen=True)
class WorkingCopy:
    """The folder of this machine in which a search works.

    Attributes:
        place: behind the URI.
        folder: as far as what lies there, or further.
    """

    place: Place
    folder: Path

    @contextlib.contextmanager
    def mirrored(self, plan: Plan) -> Iterator[Mirror]:
        """Keep the copy behind the URI up to date for the time of a ``with``, as the only one that does.

        Raises:
            UserError: another search writes there; at the end, the last results were not copied.
        """
        writer = Writer(self.place, self.folder, EVERY_S)
        writer.take(self._waiting)
        plan.networks += _networks(plan)
        bring_networks(self.place, plan.cache, [path.name for path in plan.networks], f"{plan.dataset.name}-student-")
        with Mirror(self.place, self.folder, plan.networks, writer) as mirror:
            yield mirror

    def _waiting(self, seconds: float) -> None:
        print(
            f"kdsearch: {self.place.uri} was being written by another search: waiting {seconds:.0f} s to see whether "
            "it still is",
            file=sys.stderr,
            flush=True,
        )


@contextlib.contextmanager
def working_copy(uri: Uri, cache: Path | None, resume: bool) -> Iterator[WorkingCopy]:
    """Lock the folder for a URI, and bring it to where its copy is.

    Args:
        uri: of the output.
        cache: folder for trained networks, if it is not the user's; the working folder lies in it or beside.
        resume: whether a search may be there.

    Raises:
        UserError: the URI cannot be used, a search is there that is not to be resumed, or another runs in the folder.
    """
    place = Place.open(uri)
    place.check_writable()  # before anything is left here
    folder = (cache or default_cache().parent) / "outputs" / uri.key
    with output_lock(folder):
        bring(place, folder, resume)
        yield WorkingCopy(place, folder)


def _networks(plan: Plan) -> tuple[Path, ...]:
    """Files of the cache with what all trials look at, and what stands beside the winner."""
    wanted = [("teacher", settings) for settings in plan.teachers]
    wanted += [("student", replace(plan.student, seed=seed)) for seed in plan.seeds]
    if plan.start not in ("student", "teacher"):
        wanted.append((plan.start, plan.teacher))
    return tuple(path_of(plan.cache, plan.dataset, name, plan.layout(name), settings) for name, settings in wanted)
