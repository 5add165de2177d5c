"""The whole page, put together and written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kdsearch import __version__
from kdsearch.contents import REPORT
from kdsearch.errors import UserError
from kdsearch.results.best import dataset_of
from kdsearch.results.files import write_text
from kdsearch.results.page import network, outcome, parameters, trials, words
from kdsearch.results.page.markup import Markup, el, escape, join
from kdsearch.results.page.names import tip
from kdsearch.results.page.reading import Search, read_search

if TYPE_CHECKING:
    from kdsearch.data import Dataset
    from kdsearch.results.page.forecasts import Forecasts

__all__ = ["Written", "page_of", "write_report"]

_HERE = Path(__file__).parent
# The page says itself that it may load nothing and run only what is written in it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Written:
    """A page that was written: where, and why it lacks the forecasts; None where it does not."""

    path: Path
    lacks: str | None


def write_report(
    output: Path,
    dataset: str | Path | Dataset | None = None,
    data_dir: Path | None = None,
    file: Path | None = None,
    sensors: Sequence[int] = (),
) -> Written:
    """Read a search folder and write its page.

    Args:
        output: folder of a search, finished or not.
        dataset: the one it was searched on, or its name or declaration. None takes the one that the search names; if
            that cannot be had, the page is written without forecasts.
        data_dir: where raw files lie.
        file: where to write; None: ``report.html`` in the folder.
        sensors: whose forecasts are shown; none: some that are worth a look.

    Raises:
        UserError: the folder holds no search or a damaged one, the dataset that was given is another or cannot be read,
            or the file cannot be written.
    """
    search = read_search(output)
    found: Forecasts | None = None
    lacks: str | None = None
    if search.best is None:
        lacks = "The search has not finished, so the test days have not been looked at."
    else:
        try:
            found = _forecasts_of(search, output, dataset, data_dir, sensors)
        except UserError as error:
            if dataset is not None or sensors:
                raise
            # One of its sentences may name a folder of this machine, which is nobody's business on a page that is sent
            # around.
            lacks, told = "The dataset of this search was not at hand when the page was written.", str(error)
            path = _write(output, file, page_of(search, None, lacks))
            return Written(path, f"without forecasts: {told}")
    return Written(_write(output, file, page_of(search, found, lacks or "")), lacks)


def _write(output: Path, file: Path | None, text: str) -> Path:
    """Write the page in one step."""
    path = output / REPORT if file is None else file
    write_text(path, text)
    return path


def _forecasts_of(
    search: Search,
    output: Path,
    given: str | Path | Dataset | None,
    data_dir: Path | None,
    sensors: Sequence[int],
) -> Forecasts:
    from kdsearch.data import Dataset, load
    from kdsearch.results.page.forecasts import forecasts_of

    if isinstance(given, Dataset):
        return forecasts_of(output, given, sensors)
    if given is None:
        given = dataset_of(search.best or {}, search.folder)
    return forecasts_of(output, load(given, data_dir), sensors)


def page_of(search: Search, found: Forecasts | None, why_not: str, now: datetime | None = None) -> str:
    """The page of a search.

    Args:
        search: what is shown.
        found: forecasts of the winner; None leaves their part out.
        why_not: why there are none.
        now: when it is written.
    """
    heading = words.title(search)
    sections = _sections(search, found, why_not)
    links = el("ul", *(el("li", el("a", name, href=f"#{key}")) for key, name, _ in sections))
    written = (now or datetime.now(UTC)).astimezone(UTC)
    head = join(
        [
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="color-scheme", content="light dark"),
            el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            el("title", f"{heading} ({search.folder})"),
            el("style", Markup(_HERE.joinpath("page.css").read_text(encoding="utf-8"))),
        ]
    )
    body = join(
        [
            el("a", "Skip to the summary", href="#summary", class_="skip"),
            el(
                "header",
                el("h1", heading),
                el("p", f"{search.folder}, {words.status(search)}", class_="status"),
                el("nav", links, aria_label="Parts of this page"),
            ),
            el("main", *(el("section", el("h2", name), content, id=key) for key, name, content in sections)),
            el(
                "footer",
                el("p", f"Written by kdsearch {__version__} on {written:%Y-%m-%d at %H:%M} UTC from {search.folder}."),
            ),
            el("div", id="tip", aria_hidden="true"),
            _data("trials", {str(t.number): tip(search, t, search.params) for t in search.trials}),
            el("script", Markup(_HERE.joinpath("page.js").read_text(encoding="utf-8"))),
        ]
    )
    page = el("html", el("head", head), el("body", body), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _sections(search: Search, found: Forecasts | None, why_not: str) -> list[tuple[str, str, Markup]]:
    warnings = [] if search.best is None else [str(line) for line in search.best.get("warnings", [])]
    warned = el("ul", *(el("li", line) for line in warnings), class_="warnings") if warnings else None
    told = el("ul", *(el("li", line) for line in words.sentences(search)), class_="told")
    name = "The best configuration" if search.best is not None else "The best configuration so far"
    sections: list[tuple[str, str, Markup | None]] = [
        ("summary", "In short", join([words.facts(search), told, warned])),
        ("best", name, outcome.settings(search)),
        ("results", "How good it is", _all(outcome.front(search), outcome.beside(search), outcome.paper_table(search))),
        ("search", "How the search went", _search(search)),
        ("parameters", "What the hyperparameters do", _parameters(search)),
        ("forecasts", "Forecasts", _forecasts(found, why_not)),
        ("run", "What was run", words.what_was_run(search)),
    ]
    return [(key, title, content) for key, title, content in sections if content]


def _all(*parts: Markup | None) -> Markup:
    return join(part for part in parts if part)


def _search(search: Search) -> Markup:
    if not search.trials:
        return el("p", "No trial has begun.")
    parts = [trials.history(search), trials.curves(search), trials.rungs(search), parameters.importance(search)]
    return join([el("div", *parts, class_="grid2"), trials.timeline(search), trials.failures(search)])


def _parameters(search: Search) -> Markup:
    parts = _all(parameters.parallel(search), parameters.slices(search))
    return parts or el("p", "There are too few trials with a score to tell.")


def _forecasts(found: Forecasts | None, why_not: str) -> Markup | None:
    if found is None:
        return el("p", why_not) if why_not else None
    return _all(network.days(found), network.sensor_map(found))


def _data(name: str, value: Mapping[str, object]) -> Markup:
    # Within a script element nothing is escaped, so what would end it or begin another must not occur.
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(f'<script type="application/json" id="{escape(name)}">{text}</script>')
