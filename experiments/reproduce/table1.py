"""Table 1: size, operations and time of the networks. Weights do not matter to any of them: nothing is trained."""

from __future__ import annotations

from experiments.reproduce.rows import ROWS
from experiments.reproduce.study import Study
from experiments.reproduce.timing import operations, timed
from kdsearch.models.stgcn import CHANNELS
from kdsearch.results import paper
from kdsearch.results.formats import Cell, Column, Table, whole
from kdsearch.training.network import new_network

_NAMES = {"teacher": "Teacher", "base": "Pruning base model", "student": "Student"}


def build(study: Study) -> Table:
    """The table; measures what has not been measured on this device before."""
    settings = study.settings
    plan = next(iter(study.plans.values())).plan
    rows: list[dict[str, Cell]] = []
    device = ""
    for name, label in _NAMES.items():
        model = new_network(study.dataset, CHANNELS[name], seed=0)
        time = timed(model, settings.timing_batch, settings.timing_runs, plan.device, plan.cache)
        device = time["device"]
        row: dict[str, Cell] = {
            "models": label,
            "parameters": model.n_parameters(),
            "channels": "".join(str(list(block)) for block in CHANNELS[name]),
            "flops": operations(model),
            "mean_s": time["mean"],
            "median_s": time["median"],
            "source": "ours",
            "look": "paper" if name == "student" else "reference",
        }
        rows.append(row)
        published = paper.network(study.dataset.name, name)
        if published is not None:
            told: dict[str, Cell] = {"mean_s": published["test_time_s"], "flops": published["flops"]}
            told["parameters"] = published["parameters"]
            rows.append({"models": label, "channels": row["channels"], **told, "source": "paper"})
    rows.append(
        {**next(r for r in rows if r["models"] == "Student"), "models": ROWS["best-stcd"].label, "look": "best"}
    )
    columns = (
        Column("models", "Models"),
        Column("parameters", "Parameters", number=whole),
        Column("channels", "Hidden Blocks Channel"),
        Column("flops", "FLOPs a window", number=lambda value: f"{value:,.0f}"),
        Column("mean_s", "Test Time, mean (s)", number=lambda value: f"{value:.4f}"),
        Column("median_s", "Test Time, median (s)", number=lambda value: f"{value:.4f}"),
        Column("source", "Source"),
    )
    notes = (
        f"Time of one-step forecasts of {settings.timing_batch} windows, over {settings.timing_runs} passes, on "
        f"{device}. The paper's: a batch of 1140, mean of 100, on a GTX 1080.",
        "FLOPs: matrix products of one forecast of one window, a multiplication and an addition counted as two; the "
        "paper does not say what it counts. The best recipe trains the same student, so size and time are the same.",
    )
    return Table("table1", "Table 1, the networks", study.heading, columns, rows, notes)
