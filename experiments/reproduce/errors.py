"""Tables of errors (4, 5, 7 and 8): figures, paired tests, the winner where there is one, the paper's rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.reproduce import published
from experiments.reproduce.plots import look_of
from experiments.reproduce.rows import Row
from experiments.reproduce.study import Study
from kdsearch.results.formats import Cell, Column, Marked, Table, whole
from kdsearch.results.significance import LEVEL, Sample, better, p_value, winner
from kdsearch.training.metrics import METRICS
from kdsearch.training.recipe import PAPER

__all__ = ["ErrorTable"]

_ORDER = ("mape", "mae", "rmse")  # the paper's
assert set(_ORDER) == set(METRICS)


@dataclass(frozen=True)
class ErrorTable:
    """What one of these tables declares.

    Attributes:
        number: of the table.
        title: what it shows.
        rows: in order; ours, which the paper does not have, last.
        contests: groups of keys within which a winner is looked for, all rows trained as the paper does and about as
            small; the first of each is the baseline that the others are tested against. Ours, by another recipe, is
            compared with the last group.
        sizes: whether to print the share of parameters kept.
    """

    number: int
    title: str
    rows: tuple[Row, ...]
    contests: tuple[tuple[str, ...], ...]
    sizes: bool = False

    def figures(self, study: Study) -> list[str]:
        """Names of the figures in the paper's order."""
        return [f"{metric}_{minutes}" for metric in _ORDER for minutes in study.dataset.horizons.values()]

    def present(self, study: Study) -> list[Row]:
        """The rows that were not skipped and are finished."""
        return [row for row in self.rows if study.finished(row)]

    def groups(self, study: Study, name: str) -> list[dict[str, Sample]]:
        """A figure of the rows of each contest that have one."""
        there = {row.key: study.sample(row, name) for row in self.present(study)}
        return [{key: there[key] for key in keys if key in there and there[key].values} for keys in self.contests]

    def build(self, study: Study) -> Table:
        """The table."""
        names, rows = self.figures(study), self.present(study)
        with_paper = published.known(study.dataset.name)
        cells: list[dict[str, Cell]] = [self._row(study, row) for row in rows]
        for name in names:
            groups = self.groups(study, name)
            won = {winner(group) for group in groups}
            for row, line in zip(rows, cells, strict=True):
                figure = study.figure(row, name)
                ours = row.recipe != PAPER and _beats_all(study.sample(row, name), groups[-1])
                line[name] = Marked(figure.mean, figure.std, bold=row.key in won, sign="†" if ours else "")
        if with_paper:
            cells = [line for row, own in zip(rows, cells, strict=True) for line in self._beside(study, row, own)]
        columns = [Column("models", "Models"), Column("parameters", "Parameters", number=whole)]
        if self.sizes:
            columns.append(Column("kept", "Kept parameters", unit="%"))
        for name in names:
            metric, _, minutes = name.rpartition("_")
            columns.append(Column(name, f"{metric.upper()} {minutes} min", figure=True))
        columns += [Column("seeds", "Seeds", number=whole), Column("hyperparameters", "Hyperparameters from")]
        if with_paper:
            columns.append(Column("source", "Source"))
        title = f"Table {self.number}, {self.title}"
        return Table(f"table{self.number}", title, study.heading, columns, cells, self._notes(study, rows))

    def _row(self, study: Study, row: Row) -> dict[str, Cell]:
        records = study.records_of(row)
        first = next((r for r in records if not r.error), None)
        line: dict[str, Cell] = {"models": row.label, "source": "ours", "look": look_of(row)}
        line["parameters"] = None if first is None else first.n_parameters
        line["seeds"] = len([r for r in records if not r.error]) if row.kind != "classical" else None
        if row.kind in ("student", "pruned"):
            line["hyperparameters"] = study.params(row).source
        share = None if first is None else first.kept_share
        whole_network = 100.0 if row.kind in ("teacher", "base") else None
        line["kept"] = whole_network if share is None else 100.0 * share
        return line

    def _beside(self, study: Study, row: Row, own: dict[str, Cell]) -> list[dict[str, Cell]]:
        minutes = tuple(study.dataset.horizons.values())
        told = published.errors(self.number, study.dataset.name, row.key, minutes)
        if told is None:
            return [own]
        return [own, {"models": row.label, **{n: Marked(v) for n, v in told.items()}, "source": "paper"}]

    def _notes(self, study: Study, rows: Sequence[Row]) -> list[str]:
        n = study.settings.seeds
        notes = [
            f"MAPE in %, MAE and RMSE in mph on the test days, mean ± deviation over {n} seed{'s' if n > 1 else ''}; "
            "one teacher and one base model, from which all others learn or are pruned."
        ]
        if n > 1:
            groups = "; ".join(", ".join(keys) for keys in self.contests)
            notes.append(
                f"Bold: better than each other row of its contest ({groups}) by a two-sided paired t-test over the "
                f"seeds, p < {LEVEL:g}; nothing is bold where no row is. †: ours is better than each row of the "
                f"{'last ' if len(self.contests) > 1 else ''}contest by the same test."
            )
        else:
            notes.append("One seed shows no deviation: nothing is tested and no winner is marked.")
        gone = [row.label.plain for row in self.rows if row not in rows]
        if gone:
            why = "--skip, or not trained yet" if study.settings.show else "--skip"
            notes.append(f"Left out ({why}): {', '.join(gone)}.")
        return notes + [f"Failed: {line}." for row in rows for line in study.errors_of(row)]

    def tests(self, study: Study) -> str:
        """The tests behind the table as CSV: in each contest all against its baseline and the lowest against all."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["figure", "row", "against", "mean", "mean_against", "p", "better"])
        ours = [row for row in self.present(study) if row.recipe != PAPER]
        for name in self.figures(study):
            groups = self.groups(study, name)
            pairs: dict[tuple[str, str], tuple[Sample, Sample]] = {}
            for keys, group in zip(self.contests, groups, strict=True):
                lowest = min(group, key=lambda key: group[key].mean) if group else ""
                for key, sample in group.items():
                    if keys[0] in group and key != keys[0]:
                        pairs[key, keys[0]] = sample, group[keys[0]]
                    if key != lowest:
                        pairs[lowest, key] = group[lowest], sample
            for row in ours:
                sample = study.sample(row, name)
                pairs |= {(row.key, key): (sample, other) for key, other in groups[-1].items() if sample.values}
            for (key, other), (a, b) in pairs.items():
                p = p_value(a, b)
                writer.writerow([name, key, other, a.mean, b.mean, "" if p is None else p, better(a, b)])
        return out.getvalue()


def _beats_all(sample: Sample, rivals: dict[str, Sample]) -> bool:
    return bool(sample.values and rivals) and all(better(sample, s) for s in rivals.values())
