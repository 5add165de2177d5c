"""The page in a real browser: every chart drawn, no complaint, nothing asked of a network, keys and brushes work."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kdsearch.results.page.document import write_report
from kdsearch.results.page.reading import read_search
from tests.results.searches import make_search, per_seed, write_document
from tests.results.test_page import save_network

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install -e .[dev])"
    )
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    with playwright.sync_playwright() as running:
        known = Path(running.chromium.executable_path)
        if found is None and not known.exists():
            pytest.skip("there is no Chromium here (on Debian: apt-get install chromium)")
        # Root may not use Chromium's sandbox; what is opened is our own file.
        started = running.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, make_document: Callable[..., dict[str, Any]], demo: Any) -> Path:
    folder = tmp_path_factory.mktemp("page") / "run"
    make_search(folder)
    winner = read_search(folder).winner
    confirmed = [{"trial": winner, "params": {}, "score": {"mean": 2.9, "std": 0.02}}]
    write_document(folder, make_document(dataset="demo", per_seed=per_seed(), confirmed=confirmed))
    save_network(folder, demo)
    return write_report(folder, demo).path


@pytest.fixture
def visit(browser: Any, report: Path) -> Iterator[Callable[..., Any]]:
    """Opens the report in a window; at the end nothing may have been complained about or asked for."""
    complaints: list[str] = []
    pages: list[Any] = []

    def opened(path: Path = report, width: int = 1200, scheme: str = "light", script: bool = True) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
        )
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on("request", lambda r: None if r.url == path.as_uri() else complaints.append(r.url))
        page.goto(path.as_uri())
        pages.append(context)
        return page

    yield opened
    for context in pages:
        context.close()
    assert complaints == []


# Of every chart that is shown: marks that are visible, and inside the chart.
DRAWN = """() => {
  const shown = Array.from(document.querySelectorAll("svg.chart")).filter((c) => c.getClientRects().length);
  return shown.map((c) => {
    const r = c.getBoundingClientRect();
    const within = (b) => b.left > r.left - 6 && b.right < r.right + 6 && b.top > r.top - 6 && b.bottom < r.bottom + 6;
    const marks = Array.from(c.querySelectorAll(".m, .bar, .truth, .best-line")).map((m) => m.getBoundingClientRect());
    const inside = marks.filter((b) => b.width + b.height > 0 && within(b));
    const texts = Array.from(c.querySelectorAll("text"));
    const cut = texts.filter((t) => {
      const b = t.getBoundingClientRect();
      return b.left < -1 || b.right > innerWidth + 1;
    });
    const names = cut.map((t) => t.textContent);
    return [c.getAttribute("aria-label"), r.width, r.height, marks.length, inside.length, names];
  });
}"""

# Least contrast of text with what is behind it (WCAG 2), outside charts.
CONTRAST = """() => {
  const part = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => part(Number(v) / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = "p, li, td, th, dt, dd, summary, a, h1, h2, h3, strong, span, code";
  return Math.min(...Array.from(document.querySelectorAll(texts)).map((e) => {
    const a = light(getComputedStyle(e).color), b = light(ground(e));
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
}"""


@pytest.mark.parametrize("width", [1200, 700, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_is_drawn(visit, width, scheme):
    page = visit(width=width, scheme=scheme)
    charts = page.evaluate(DRAWN)
    assert len(charts) == 1 + 4 + 1 + 1 + 3 + 4 + 1  # errors, search, timeline, parallel, slices, days, map
    for name, wide, high, marks, inside, cut in charts:
        assert wide > 150, name
        assert high > 40, name
        assert marks > 0, name
        assert inside == marks, name
        assert cut == [], name
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_told_from_its_ground(visit, scheme):
    assert visit(scheme=scheme).evaluate(CONTRAST) >= 4.5  # WCAG AA


def test_it_can_be_read_without_its_script(visit):
    page = visit(script=False)
    assert page.locator("svg.chart").count() > 10
    assert not page.locator(".hint").first.is_visible()
    assert page.get_by_role("heading", name="In short").is_visible()


def test_pointing_tells_of_a_trial_and_shows_it_everywhere(visit):
    page = visit()
    mark = page.locator("svg.marks circle[data-t]").first
    number = mark.get_attribute("data-t")
    mark.hover()
    assert page.locator("#tip").inner_text().startswith(f"Trial {number}")
    hot = page.locator(".hot")
    assert hot.count() >= 6
    assert {hot.nth(i).get_attribute("data-t") for i in range(hot.count())} == {number}
    page.keyboard.press("Escape")
    assert hot.count() == 0
    assert not page.locator("#tip").is_visible()


def test_keys_go_from_trial_to_trial(visit):
    page = visit()
    first = page.locator("svg.marks [tabindex='0']").first
    first.focus()
    page.keyboard.press("ArrowRight")
    now = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(now).startswith("Trial 1")
    page.keyboard.press("End")
    assert page.evaluate(now).startswith("Trial 19")
    assert page.locator("#tip").inner_text().startswith("Trial 19")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(now).startswith("Trial 0")


def test_brushing_an_axis_fades_the_others(visit):
    page = visit()
    brush = page.locator("svg.only-wide .brush[data-axis='']")
    brush.scroll_into_view_if_needed()
    box = brush.bounding_box()
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(x, box["y"] + box["height"] * 0.3, steps=4)
    page.mouse.up()
    kept = page.evaluate(
        "Array.from(document.querySelectorAll('svg.only-wide .parallel[data-t]:not(.out)')).map((m) => m.dataset.t)"
    )
    every = page.locator("svg.only-wide .parallel[data-t]").count()
    assert 0 < len(kept) < every
    assert page.locator(".parallel.winner:not(.out)").count() >= 1  # the best score is at the upper end
    elsewhere = page.locator("figure:has-text('History of the search') circle[data-t].out")
    assert elsewhere.count() > 0
    page.mouse.click(x, box["y"] + box["height"] * 0.8)
    assert page.locator(".out").count() == 0


def test_a_day_is_read_off_with_keys(visit, demo):
    page = visit()
    page.locator("svg.series").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")  # twelve readings on, as a slider has it
    lines = page.locator("#tip").inner_text().splitlines()
    assert lines[0] == "06:00"
    name = page.locator("svg.series").first.get_attribute("aria-label")
    sensor, day = (int(part.split()[-1]) for part in name.split(" (")[0].split(","))
    assert lines[1] == f"measured: {demo.days('test')[day - 1, 72, sensor]:.1f} mph"


def test_the_map_shows_another_horizon(visit):
    page = visit()
    dots = "Array.from(document.querySelectorAll('svg.only-wide .sensor')).map((d) => d.getAttribute('class')).join()"
    before = page.evaluate(dots)
    page.get_by_role("radio", name="15 min ahead").check()
    assert page.evaluate(dots) != before
    page.get_by_role("radio", name="45 min ahead").check()
    assert page.evaluate(dots) == before


def test_the_table_of_trials_is_sorted_by_a_column(visit):
    page = visit()
    figure = page.locator("figure", has_text="History of the search")
    figure.locator("summary").click()
    figure.get_by_role("button", name="score (mph)").click()
    shown = figure.locator("tbody tr td:nth-child(3)").all_inner_texts()
    values = [float(text) for text in shown if text]
    assert values == sorted(values)
    assert shown[-1] == ""  # the failed trial has none
    assert figure.locator("th[aria-sort='ascending']").count() == 1


def test_it_prints(visit):
    page = visit(scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert 3 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type/Page/") <= 14


@pytest.mark.parametrize("count", [0, 1, 6])
def test_an_unfinished_search_in_a_browser(visit, tmp_path, count):
    make_search(tmp_path, trials=count, unfinished=count == 6)
    page = visit(write_report(tmp_path).path, width=360)
    assert page.get_by_text("not finished").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
