"""The paper's figures: whole, and the same where the paper prints a row twice."""

from __future__ import annotations

import pytest

from experiments.reproduce import published, table4, table5, table7, table8
from experiments.reproduce.rows import ROWS
from kdsearch.training.recipe import PAPER

NOT_PUBLISHED = {"copy_last", "ridge_ar", "fitnet", "at", "nst", "taylor-97"}


@pytest.mark.parametrize("table", [table4.TABLE, table5.TABLE, table7.TABLE, table8.TABLE])
@pytest.mark.parametrize("dataset", ["pemsd7", "pemsd8"])
def test_every_row_that_the_paper_has_is_there(table, dataset):
    for row in table.rows:
        told = published.errors(table.number, dataset, row.key)
        if row.recipe != PAPER or row.key in NOT_PUBLISHED:
            assert told is None
            continue
        assert set(told) == {f"{m}_{h}" for m in ("mape", "mae", "rmse") for h in (15, 30, 45)}
        for metric in ("mape", "mae", "rmse"):
            values = [told[f"{metric}_{h}"] for h in (15, 30, 45)]
            assert values == sorted(values)  # farther ahead is never easier
        assert all(told[f"mae_{h}"] < told[f"rmse_{h}"] for h in (15, 30, 45))


@pytest.mark.parametrize("dataset", ["pemsd7", "pemsd8"])
def test_rows_that_are_printed_twice_agree(dataset):
    for key, tables in {"teacher": (4, 5, 7), "none": (4, 5), "stcd": (4, 5, 7)}.items():
        first, *others = [published.errors(number, dataset, key) for number in tables]
        assert all(other == first for other in others)


def test_figures_of_the_paper():
    assert published.errors(8, "pemsd7", "kdis-75")["rmse_45"] == 8.270
    assert published.errors(4, "pemsd7", "historical_average")["mae_45"] == 4.010
    assert published.attention("pemsd7", "tcd") == 64.637
    assert published.attention("pemsd7-week", "tcd") is None
    assert published.errors(4, "pemsd7-week", "teacher") is None
    assert published.known("pemsd8")
    assert not published.known("pemsd7-week")


def test_contests_name_rows_of_their_table():
    for table in (table4.TABLE, table5.TABLE, table7.TABLE, table8.TABLE):
        keys = {row.key for row in table.rows}
        for contest in table.contests:
            assert set(contest) <= keys
            assert all(ROWS[key].recipe == PAPER for key in contest)
        ours = [row for row in table.rows if row.recipe != PAPER]
        assert ours == [table.rows[-1]]
