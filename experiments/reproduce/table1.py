"""Table 1: size, operations and time of the networks. Weights do not matter to any of them: nothing is trained."""

from __future__ import annotations

from experiments.reproduce.rows import ROWS
from experiments.reproduce.study import Study
from experiments.reproduce.timing import device_name, operations, timed
from kdsearch.results import paper
from kdsearch.results.formats import Cell, Column, Table, whole
from kdsearch.training.network import layout_of, new_network
from kdsearch.training.recipe import PAPER

# Label: network, recipe. Under the best recipe teacher and base model have the paper's size.
_NETWORKS = {
    "Teacher": ("teacher", PAPER),
    "Pruning base model": ("base", PAPER),
    "Student": ("student", PAPER),
    ROWS["best-stcd"].label: ("student", "best"),
}


def build(study: Study) -> Table:
    """The table; measures what has not been measured on this device before."""
    settings = study.settings
    plan = next(iter(study.plans.values())).plan
    rows: list[dict[str, Cell]] = []
    device = ""
    for label, (name, recipe) in _NETWORKS.items():
        layout = layout_of(name, recipe)
        model = new_network(study.dataset, layout, seed=0)
        # Beside a run that still goes on, a time would be of both.
        measured = timed(
            model, settings.timing_batch, settings.timing_runs, plan.device, plan.cache, measure=not settings.show
        )
        device = device_name(plan.device) if measured is None else measured["device"]
        row: dict[str, Cell] = {
            "models": label,
            "parameters": model.n_parameters(),
            "channels": "".join(str(list(block)) for block in layout.blocks),
            "flops": operations(model),
            "mean_s": measured and measured["mean"],
            "median_s": measured and measured["median"],
            "source": "ours",
            "look": "reference" if name != "student" else "paper" if recipe == PAPER else "best",
        }
        rows.append(row)
        published = paper.network(study.dataset.name, name) if recipe == PAPER else None
        if published is not None:
            told: dict[str, Cell] = {"mean_s": published["test_time_s"], "flops": published["flops"]}
            told["parameters"] = published["parameters"]
            rows.append({"models": label, "channels": row["channels"], **told, "source": "paper"})
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
        "paper does not say what it counts.",
    )
    return Table("table1", "Table 1, the networks", study.heading, columns, rows, notes)
