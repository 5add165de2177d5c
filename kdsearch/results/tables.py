"""Tables 2 and 3 of the paper, the comparison with what needs no search, and the winners in full."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from kdsearch.results import paper
from kdsearch.results.formats import Cell, Column, Label, Table, escape_tex, scientific, whole
from kdsearch.results.result import Figure, Result
from kdsearch.search.front import pareto_front

__all__ = ["LOSSES", "TABLE2", "TABLE3", "best", "comparison", "front", "further_columns", "table2", "table3"]

# Names as the paper prints them, in its order; the rest follow.
LOSSES = {
    "rd_l2": Label("L_RD(L2)", r"$L_{\mathrm{RD(L2)}}$"),
    "rd_kl": Label("L_RD(KL)", r"$L_{\mathrm{RD(KL)}}$"),
    "skd": Label("L_SKD", r"$L_{\mathrm{SKD}}$"),
    "ord": Label("L_ORD", r"$L_{\mathrm{ORD}}$"),
    "stcd": Label("L_STCD", r"$L_{\mathrm{STCD}}$"),
    "tcd": Label("L_TCD", r"$L_{\mathrm{TCD}}$"),
    "scd": Label("L_SCD", r"$L_{\mathrm{SCD}}$"),
    "fitnet": Label("FitNet", "FitNet"),
    "at": Label("AT", "AT"),
    "nst": Label("NST", "NST"),
    "none": Label("without KD", "without KD"),
}
_BASELINES = {
    "copy_last": "Copy last",
    "ridge_ar": "Ridge AR(12)",
    "usual_day": "Usual day + last deviation",
    "teacher": "Teacher",
    "teachers_mean": "Mean of the teachers",
    "base": "Base model",
    "student_none": "Student without KD",
}
# Of one result: what it must beat, a pruned one the rows of Tables 7 and 8.
_RIVALS = {
    "student_control": Label("Without KD, else as student ", "Without KD, else as student "),
    "student_kd": Label("Predetermined student ", "Predetermined student "),
    "traditional": Label("Traditional pruning", "Traditional pruning"),
}
_SOURCE = Column("source", "Source")

_COMMON = (
    Column("batch_size", "Batch Size", number=whole),
    Column("learning_rate", "Learning Rate", number=scientific),
)
_ALPHAS = tuple(Column(f"alpha{i}", f"α{i}", rf"$\alpha_{i}$") for i in (1, 2, 3))
TABLE2 = (
    Column("models", "Models"),
    *_COMMON,
    *_ALPHAS,
    Column("alpha", "α", r"$\alpha$"),
    Column("beta", "β", r"$\beta$"),
)
_PRUNING = {
    "pruning_minibatch": Column("pruning_minibatch", "Pruning Minibatch", number=whole),
    "stage_percent": Column("stage_percent", "Pruned % per Stage", unit="%"),
}
TABLE3 = (Column("pruned", "Pruned %", number=whole, unit="%"), *_COMMON, *_ALPHAS)


def table2(results: Iterable[Result], with_paper: bool = False) -> list[Table]:
    """Table 2: the hyperparameters of each loss, one table a dataset, in the paper's columns and order.

    Hyperparameters that the paper does not have (those of `fitnet`, `at`, `nst`) follow in columns of their own.

    Args:
        results: of any dataset; those with pruning are left to `table3`.
        with_paper: put the published row under each of ours, where there is one, and say which is whose.
    """
    tables = []
    for dataset, found in _by_dataset(r for r in results if r.prune is None):
        rows = [row for r, suffix in found for row in _rows(r, {"models": _model(r, suffix)}, with_paper)]
        columns = (*TABLE2, *_further(found, TABLE2), *((_SOURCE,) if with_paper else ()))
        tables.append(Table("table2", "Table 2, hyperparameters of the losses", _heading(dataset), columns, rows))
    return tables


def table3(results: Iterable[Result], with_paper: bool = False) -> list[Table]:
    """Table 3: the hyperparameters of each pruning ratio, highest first; arguments as `table2`.

    The loss is named in a column of its own where it is not `stcd`, the only one that the paper prunes with.
    """
    tables = []
    for dataset, found in _by_dataset(r for r in results if r.prune is not None):
        rows = [
            row for r, suffix in found for row in _rows(r, {"pruned": r.prune, "loss": _model(r, suffix)}, with_paper)
        ]
        named = any(r.loss != "stcd" or suffix for r, suffix in found)
        further = (*_further(found, TABLE3), *((Column("loss", "Loss"),) if named else ()))
        columns = (*TABLE3, *further, *((_SOURCE,) if with_paper else ()))
        tables.append(Table("table3", "Table 3, hyperparameters of pruning", _heading(dataset), columns, rows))
    return tables


def comparison(results: Iterable[Result]) -> list[Table]:
    """Errors on the test days of the reference rows and of each student, one table a dataset.

    Rows: copy-last, ridge AR(12), teacher, base model, student without KD (each where a search measured it), then
    every result after what it must beat.
    Columns: parameters, then MAPE (%), MAE and RMSE (mph) at each horizon, mean and deviation over the seeds.
    """
    tables = []
    for dataset, found in _by_dataset(results):
        rows: list[dict[str, Cell]] = []
        for name, label in _BASELINES.items():
            different = _holders(found, name)
            for holders in different:
                holder, _ = holders[0]
                parameters = holder.sizes.get(name)
                if parameters is None and name == "teacher":  # sizes are newer than some stored results
                    parameters = holder.teacher.get("n_parameters")
                if parameters is None and name == "student_none" and holder.prune is None:
                    parameters = holder.n_parameters
                told: Label | str = label if len(different) == 1 else Label(label, label) + " of " + _named(holders)
                rows.append({"models": told, "parameters": parameters, **holder.baselines[name]})
        for result, suffix in found:
            pruned = "" if result.prune is None else f", {result.prune:g}% pruned"
            for name, rival in _RIVALS.items():
                if name in result.baselines:
                    model = rival + (pruned if name == "traditional" else _model(result, suffix))
                    rows.append({"models": model, "parameters": result.sizes.get(name), **result.baselines[name]})
            student = Label("Student ", "Student ") + _model(result, suffix + pruned)
            rows.append({"models": student, "parameters": result.n_parameters, **result.test})
        columns = [Column("models", "Models"), Column("parameters", "Parameters", number=whole)]
        for metric in ("mape", "mae", "rmse"):
            for minutes in _minutes(rows):
                heading = f"{metric.upper()} {minutes} min"
                columns.append(Column(f"{metric}_{minutes}", heading, figure=True))
        title = "Errors on the test days, MAPE in %, MAE and RMSE in mph"
        tables.append(Table("comparison", title, _heading(dataset), columns, rows))
    return tables


def _holders(found: Sequence[tuple[Result, str]], name: str) -> list[list[tuple[Result, str]]]:
    """The results that have a baseline, those together whose figures of it are the same."""
    groups: dict[str, list[tuple[Result, str]]] = {}
    for result, suffix in found:
        if result.baselines.get(name):
            groups.setdefault(json.dumps(result.baselines[name], sort_keys=True, default=str), []).append(
                (result, suffix)
            )
    return list(groups.values())


def _named(holders: Sequence[tuple[Result, str]]) -> Label:
    """The students of some results, as the rows of a comparison name them."""
    names = [_model(r, suffix + ("" if r.prune is None else f", {r.prune:g}% pruned")) for r, suffix in holders]
    out = names[0]
    for name in names[1:]:
        out = out + "; " + name
    return out


def best(results: Iterable[Result]) -> list[Table]:
    """Each winner with all its parameters, its validation score and the length of its search."""
    tables = []
    for dataset, found in _by_dataset(results):
        rows: list[dict[str, Cell]] = [
            {
                "models": _model(r, suffix),
                "pruned": r.prune,
                **r.params,
                "parameters": r.n_parameters,
                "score": r.validation["score"],
                "seeds": len(r.seeds),
                "trials": r.search.get("trials"),
                "epochs": r.search.get("epochs"),
            }
            for r, suffix in found
        ]
        shown = {key for row in rows for key, cell in row.items() if cell is not None}
        hyper = [c for c in (*TABLE2[1:], *_further(found, TABLE2)) if c.key in shown]
        columns = [
            Column("models", "Models"),
            *([TABLE3[0]] if "pruned" in shown else []),
            *hyper,
            Column("parameters", "Parameters", number=whole),
            Column("score", "Validation score (mph)", figure=True),
            *(Column(key, key.capitalize(), number=whole) for key in ("seeds", "trials", "epochs")),
        ]
        tables.append(Table("best", "Best configurations", _heading(dataset), columns, rows))
    return tables


def front(points: Iterable[Result]) -> list[Table]:
    """The points of fronts, smallest network first, one table a dataset: size, time, errors, hyperparameters.

    ``on the front`` is false where another point of the same front is as good in score and cost and better in one; the
    cost is what the search weighed, else the parameters. Fronts of different losses, protocols or data do not compete:
    where there are several, each point says whose it is.
    """
    tables = []
    for dataset, found in _by_dataset(points):
        ordered = sorted((r for r, _ in found), key=lambda r: (r.n_parameters, r.score))
        fronts: dict[tuple[str, ...], list[Result]] = {}
        for r in ordered:
            fronts.setdefault(_front_of(r), []).append(r)
        on = [r for own in fronts.values() for r in pareto_front(own, _weighed)]
        told = _fronts_apart(list(fronts))
        rows: list[dict[str, Cell]] = [
            {
                "models": _model(r, told[_front_of(r)]) if len(fronts) > 1 else None,
                "parameters": r.n_parameters,
                "pruned": r.prune,
                "forward_ms": r.cost.get("forward_ms"),
                "score": r.validation["score"],
                **{f"mae_{m}": r.test.get(f"mae_{m}") for m in _minutes([dict(r.test)])},
                "front": any(r is other for other in on),
                **r.params,
            }
            for r in ordered
        ]
        shown = {key for row in rows for key, cell in row.items() if cell is not None}
        columns = [
            *([Column("models", "Models")] if len(fronts) > 1 else []),
            Column("parameters", "Parameters", number=whole),
            Column("pruned", "Pruned %", unit="%"),
            Column("forward_ms", "Forward pass (ms)"),
            Column("score", "Validation score (mph)", figure=True),
            *(Column(f"mae_{m}", f"Test MAE {m} min", figure=True) for m in _minutes(rows)),
            Column("front", "On the front"),
            *(c for c in (*_COMMON, *_ALPHAS, *_further(found, (*_COMMON, *_ALPHAS))) if c.key in shown),
        ]
        title = "Front of validation score and size"
        tables.append(Table("front", title, _heading(dataset), columns, rows))
    return tables


def _front_of(point: Result) -> tuple[str, ...]:
    """What points of one front have in common."""
    return point.loss, *(str(point.fingerprint.get(name, "")) for name in ("front", "data")), point.weighed


def _weighed(point: Result) -> tuple[float, float]:
    latency = point.weighed == "latency" and "forward_ms" in point.cost
    return point.score, point.cost["forward_ms"] if latency else float(point.n_parameters)


def _fronts_apart(fronts: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """By front, what tells it from others of its loss: the beginnings of their fingerprints."""
    told = {}
    for own in fronts:
        rivals = [other for other in fronts if other[0] == own[0]]
        names = enumerate(("protocol", "data", "by"), start=1)
        parts = [f"{name} {own[k][:10]}" for k, name in names if len({other[k] for other in rivals}) > 1]
        told[own] = f" ({', '.join(parts)})" if parts else ""
    return told


def _by_dataset(results: Iterable[Result]) -> list[tuple[str, list[tuple[Result, str]]]]:
    """Results in the paper's order under their dataset, each with what tells it from others of the same name."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        group = groups.setdefault(result.dataset, [])
        if all(result.document() != other.document() for other in group):
            group.append(result)
    out = []
    for dataset in sorted(groups):
        ordered = sorted(groups[dataset], key=lambda r: (r.prune is not None, -(r.prune or 0), _order(r.loss), r.score))
        out.append((dataset, [(result, _suffix(result, ordered)) for result in ordered]))
    return out


def _suffix(result: Result, among: Sequence[Result]) -> str:
    """Tells results of one loss and ratio apart: by recipe, protocol, data, else by their place (best first)."""
    rivals = [other for other in among if (other.loss, other.prune) == (result.loss, result.prune)]
    parts = []
    if len({other.recipe for other in rivals}) > 1:
        parts.append(f"recipe {result.recipe}")
        rivals = [other for other in rivals if other.recipe == result.recipe]
    for name in ("protocol", "data"):
        if len({str(other.fingerprint.get(name, "")) for other in rivals}) > 1:
            parts.append(f"{name} {str(result.fingerprint.get(name, ''))[:8]}")
    same = [other for other in rivals if other.key == result.key]
    if len(same) > 1:
        parts.append(f"no. {next(i for i, other in enumerate(same, 1) if other is result)}")
    return f" ({', '.join(parts)})" if parts else ""


def _rows(result: Result, first: dict[str, Cell], with_paper: bool) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = [{**first, **result.params, "source": "ours"}]
    published = paper.hyperparameters(result.dataset, result.loss, result.prune) if with_paper else None
    if published:
        rows.append({**first, **published, "source": "paper"})
    return rows


def _model(result: Result, suffix: str) -> Label:
    return LOSSES.get(result.loss, Label(result.loss, escape_tex(result.loss))) + suffix


def _order(loss: str) -> tuple[int, str]:
    names = list(LOSSES)
    return (names.index(loss) if loss in LOSSES else len(names)), loss


def _further(found: Sequence[tuple[Result, str]], known: Sequence[Column]) -> list[Column]:
    return further_columns([r.params for r, _ in found], known)


def further_columns(params: Iterable[Mapping[str, object]], known: Sequence[Column]) -> list[Column]:
    """Columns for hyperparameters that the paper's table has none for."""
    keys = {column.key for column in known}
    return [
        _PRUNING.get(key, Column(key, key)) for key in dict.fromkeys(k for p in params for k in p) if key not in keys
    ]


def _heading(dataset: str) -> str:
    return paper.DATASETS.get(dataset, dataset)


def _minutes(rows: Sequence[dict[str, Cell]]) -> list[int]:
    found = {key.rpartition("_")[2] for row in rows for key, cell in row.items() if isinstance(cell, Figure)}
    return sorted(int(minutes) for minutes in found if minutes.isdigit())
