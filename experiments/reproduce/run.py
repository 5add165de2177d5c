"""``experiments.reproduce``, whole."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from experiments.reproduce.contents import FIGURES
from experiments.reproduce.output import begin, check_begun, draw, needed, write
from experiments.reproduce.plans import RowPlan, plan_rows, tasks_of
from experiments.reproduce.records import NAME, write_records
from experiments.reproduce.rows import ROWS
from experiments.reproduce.runner import run
from experiments.reproduce.settings import Settings
from experiments.reproduce.study import Study
from experiments.reproduce.work import holds_network
from kdsearch.command import Clock
from kdsearch.errors import INTERRUPTED, UserError, suggestion
from kdsearch.job.plan import check_cache
from kdsearch.search.settings import output_lock

__all__ = ["reproduce"]


def reproduce(settings: Settings) -> int:
    """Check, train what is missing, write everything.

    Returns:
        Exit code: 0, or 130 if it was interrupted (everything is kept).

    Raises:
        UserError: whatever its user can mend.
    """
    for key in settings.skip:
        if key not in ROWS:
            raise UserError(f"--skip {key}: there is no such row, only {', '.join(ROWS)}{suggestion(key, ROWS)}")
    shown = needed(settings.tables, settings.figures, settings.skip)
    keys = [key for key in ROWS if key in shown]
    if not settings.tables and not settings.figures:
        raise UserError("--tables none --figures none: nothing is asked for")
    # A table without rows of its own (1) still wants the dataset.
    plans = plan_rows([ROWS[key] for key in keys or ["none"]], settings)
    dataset = next(iter(plans.values())).plan.dataset
    output = settings.output or Path("runs") / f"{dataset.name}-reproduce"
    if not settings.show:
        check_cache(next(iter(plans.values())).plan.cache)
    check_begun(output, settings, dataset)
    with output_lock(output):
        return _reproduce(settings, plans, keys, shown, output)


def _reproduce(
    settings: Settings, plans: Mapping[str, RowPlan], keys: Sequence[str], shown: Mapping[str, bool], output: Path
) -> int:
    """The same, once everything is checked and the folder is held."""
    begin(output, settings, next(iter(plans.values())).plan.dataset)
    drawn = {row.key for number in settings.figures for row in FIGURES[number].rows}
    say = Clock()
    tasks = tasks_of({key: plans[key] for key in keys if shown[key]}, settings)
    try:
        records = run(plans, tasks, settings, say, drawn)
    except KeyboardInterrupt:
        print("interrupted; what is done is kept, the same command carries on", file=sys.stderr)
        return INTERRUPTED
    if tasks and not records:
        raise UserError("--show: none of these trainings is finished; leave --show out to train them")
    write_records(output / NAME, tasks, records)
    study = Study(settings, plans, tasks, records)
    if settings.show:
        _check_networks(study, drawn)
    files = write(study, output)
    for path in files:
        if path.suffix == ".md":
            print(f"\n{path.read_text(encoding='utf-8')}", end="")
    failed = [key for key, record in records.items() if record.error]
    for key in failed:
        print(f"warning: {key}: {records[key].error}", file=sys.stderr)
    files += draw(study, output, say)
    print(f"\n{len(files)} files are in {output}")
    return 0


def _check_networks(study: Study, drawn: Collection[str]) -> None:
    """Refuse figures of networks that only a file of records knows, which ``--show`` does not train."""
    for task in study.tasks.values():
        drawn_from = task.row.key in drawn and study.finished(task.row)
        if drawn_from and not holds_network(task, study.dataset, study.cache):
            raise UserError(
                f"--show: figures are drawn from networks, and that of {task.key} is not in the cache; leave --show "
                "out to train it, or give --figures none"
            )
