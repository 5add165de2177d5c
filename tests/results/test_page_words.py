"""The page's summary in words: no rival is forgotten, and every share has the base that its sentence says."""

from __future__ import annotations

from kdsearch.results.page import words
from kdsearch.results.page.reading import read_search
from tests.results.searches import SETUP, make_search, per_seed, write_document


def test_words_about_simple_forecasts_and_the_teacher(tmp_path, make_document):
    """No simple forecast may be forgotten, and "better than it" is a share of the winner's error."""

    def told(**baselines):
        document = make_document(dataset="demo", per_seed=per_seed(), baselines=baselines)
        document["test"] = {f"mae_{m}": {"mean": v, "std": 0.0} for m, v in ((15, 2.9), (30, 3.9), (45, 4.3))}
        write_document(tmp_path, document)
        return " ".join(words.sentences(read_search(tmp_path)))

    def row(*maes):
        return {"test": {f"mae_{m}": v for m, v in zip((15, 30, 45), maes, strict=True)}, "n_parameters": 20000}

    make_search(tmp_path, trials=3)
    usual, last = row(3.015, 3.986, 4.356), row(2.855, 4.247, 5.403)
    assert "It beats all simple forecasts at every horizon" in told(usual_day=usual)
    assert "It beats all simple forecasts at 2 of 3 horizons" in told(usual_day=usual, copy_last=last)
    assert "At no horizon does it beat all simple ones" in told(ridge_ar=row(2.0, 2.0, 2.0))
    assert "is 50.0% better than it" in told(teacher=row(1.45, 1.95, 2.15))
    assert "is 100.0% worse than it" in told(teacher=row(5.8, 7.8, 8.6))


def test_only_early_stops_spare_epochs(tmp_path, make_document):
    make_search(tmp_path, trials=20)
    search = read_search(tmp_path)
    stopped = [t for t in search.trials if t.state == "PRUNED"]
    assert len(stopped) + search.count("COMPLETE") < len(search.trials)  # some failed, and spared nothing
    write_document(tmp_path, make_document(dataset="demo", per_seed=per_seed()))
    share = sum(SETUP["epochs"] - t.epochs for t in stopped) / (SETUP["epochs"] * len(search.trials))
    assert f"Early stopping spared {100 * share:.0f}% of the epochs" in words.sentences(read_search(tmp_path))[0]
