"""Whether it paid: the winner against a row of the same seeds, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdsearch.results.gain import RIVALS, gain_over

HORIZONS = (15, 30, 45)
OURS = [2.0, 2.1, 1.9, 2.05, 1.95]


def runs(values: list[float], first: int = 1) -> list[dict[str, Any]]:
    """Runs whose test MAE over the horizons is ``values``."""
    return [
        {"seed": first + i, "test": {f"mae_{m}": v + (m - 30) / 100 for m in HORIZONS} | {"rmse_15": 9.0}}
        for i, v in enumerate(values)
    ]


def best(ours: list[float], **rivals: list[float]) -> dict[str, Any]:
    return {"per_seed": runs(ours), "baselines": {name: {"per_seed": runs(values)} for name, values in rivals.items()}}


def test_seeds_are_paired():
    """All seeds gain a little, and differ by far more: a gain, because each is compared with itself."""
    theirs = [v + d for v, d in zip(OURS, (0.05, 0.06, 0.04, 0.055, 0.045), strict=True)]
    gain = gain_over(best(OURS, student_control=theirs))
    assert gain is not None
    assert (gain.rival, gain.seeds, gain.wins) == ("student_control", 5, 5)
    assert gain.mph == pytest.approx(0.05)
    assert gain.share == pytest.approx(0.05 / 2.05)
    assert gain.p == pytest.approx(stats.ttest_rel(OURS, theirs).pvalue)
    assert str(gain).startswith("test MAE is 0.050 mph (2.4%) lower than that of the same student without KD, better")
    assert "luck" not in str(gain)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ([2.1, 2.0, 1.95, 2.0, 2.0], "not to be told from luck"),
        ([1.9, 2.0, 1.81, 1.95, 1.84], "higher than that of the same student without KD, better with 0 of 5 seeds"),
        (OURS, "p = 1: not to be told from luck"),
    ],
)
def test_what_is_said(theirs, said):
    assert said in str(gain_over(best(OURS, student_control=theirs)))


def test_one_seed_proves_nothing():
    gain = gain_over(best([2.0], student_none=[2.5]))
    assert gain is not None
    assert gain.p is None
    assert "one seed" in str(gain)


def test_only_rows_of_the_same_seeds_are_compared():
    document = best(OURS, student_none=[2.2], student_kd=[v + 0.1 for v in OURS])
    gain = gain_over(document)
    assert gain is not None
    assert gain.rival == "student_kd"
    document["baselines"]["student_kd"]["per_seed"][0]["seed"] = 77
    assert gain_over(document) is None
    assert gain_over({"per_seed": runs(OURS), "baselines": {"student_control": {"test": {}}}}) is None
    assert gain_over({}) is None


@given(st.permutations(range(5)))
def test_the_order_of_the_seeds_does_not_matter(order):
    document = best(OURS, student_control=[2.1, 2.0, 2.2, 2.15, 1.99])
    row = document["baselines"]["student_control"]
    told = gain_over(document)
    row["per_seed"] = [row["per_seed"][i] for i in order]
    assert gain_over(document) == told


def test_every_rival_has_a_name_and_a_row():
    from kdsearch.results.result import BASELINES

    assert set(RIVALS) <= set(BASELINES)
