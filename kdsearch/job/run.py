"""``kdsearch.tune``, whole."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsearch.contents import BEST, CHECKPOINTS, FRONT, JOURNAL, REPORT, TENSORBOARD, TRIALS
from kdsearch.errors import INTERRUPTED
from kdsearch.job import remote as remotes
from kdsearch.job.plan import Plan, check
from kdsearch.job.prepare import prepare
from kdsearch.job.say import Say, Speaker
from kdsearch.job.settings import JobSettings
from kdsearch.remote.mirror import Mirror
from kdsearch.remote.uri import Uri
from kdsearch.search.interrupt import sigterm_as_interrupt
from kdsearch.search.session import Session
from kdsearch.search.settings import disk_errors, output_lock

if TYPE_CHECKING:
    from kdsearch.search.progress import Progress

__all__ = ["run_job"]


def run_job(settings: JobSettings) -> int:
    """Check, prepare, search, confirm, write, and print the result.

    Returns:
        Exit code: 0, or 130 if the search was interrupted (everything is kept).

    Raises:
        UserError: whatever its user can mend.
    """
    with contextlib.ExitStack() as stack:
        if settings.uri is None:
            copy = None
        else:
            copy = stack.enter_context(remotes.working_copy(settings.uri, settings.cache_dir, settings.resume))
            settings = replace(settings, output=copy.folder)
        plan = check(settings)
        from kdsearch.search.runner import check_resume

        # Held to the end, also while teachers are trained: a second search here is refused now, not in an hour.
        output = plan.search.output.resolve()
        stack.enter_context(output_lock(output))
        stack.enter_context(sigterm_as_interrupt())
        stack.enter_context(disk_errors(output))
        check_resume(plan.space, plan.search)
        mirror = None if copy is None else stack.enter_context(copy.mirrored(plan))
        ray = stack.enter_context(Session(plan.search.address))
        if plan.search.address is not None:
            ray.wait()  # a cluster that does not answer must show now
        return _run(plan, settings, mirror)


def _run(plan: Plan, settings: JobSettings, mirror: Mirror | None) -> int:
    from kdsearch.search.progress import Progress
    from kdsearch.search.remaining import course_of

    before = _best_before(plan)
    limits = plan.search
    progress = Progress(
        stream=sys.stderr if settings.quiet else sys.stdout,
        course=course_of(limits.scheduler, limits.epochs, limits.grace, limits.reduction),
        best=before,
        verbose=settings.verbose,
        time_budget_s=limits.time_budget_s,
    )
    say = _warnings_only if settings.quiet else Speaker(progress.on_message, progress.on_work)
    if mirror is not None:
        mirror.tell = say
    with contextlib.closing(progress):  # an error must not leave its view on the terminal
        return _search(plan, settings, before, progress, say)


def _search(plan: Plan, settings: JobSettings, before: tuple[float, int] | None, progress: Progress, say: Say) -> int:
    dataset = plan.dataset
    split = dataset.split
    say(
        f"{dataset.name}: {dataset.n_nodes} sensors, {split.total} days "
        f"({split.train} training, {split.validation} validation, {split.test} test), loss {plan.space.loss}"
    )
    if dataset.n_missing:
        share = 100 * dataset.n_missing / (split.total * dataset.steps_per_day * dataset.n_nodes)
        say(f"{dataset.n_missing} readings are missing ({share:.2g}%): losses and figures leave them out")
    for note in dataset.notes:
        say(f"note: {note}")
    warm = plan.search.warm
    if warm is not None:
        prior = f", {len(warm.prior)} trials as a prior" if warm.prior else ""
        say(f"warm start from {warm.source}: {len(warm.points)} first points{prior}")
    for note in plan.warm_notes:
        say(f"warm start: {note}")
    try:
        prepared = prepare(plan, settings.bank_memory, say)
    except KeyboardInterrupt:
        progress.close()
        print(
            f"interrupted before the search; what was trained is kept, carry on with: {settings.command}",
            file=sys.stderr,
        )
        return INTERRUPTED

    from kdsearch.results.tensorboard import TensorBoard
    from kdsearch.search.runner import run_search

    output = plan.search.output
    board = TensorBoard(output, None if before is None else before[0])
    listeners = (board,) if settings.quiet else (progress, board)
    with contextlib.closing(progress):
        found = run_search(prepared.objective, plan.space, plan.search, listeners)
    if found.reason == "interrupted":
        print(f"interrupted; carry on with: {_resume(settings.command)}", file=sys.stderr)
        return INTERRUPTED
    from kdsearch.job.finish import finish
    from kdsearch.job.front import finish_front

    try:
        how = finish if plan.cost is None else finish_front
        document = how(prepared, found, say, settings.command, settings.store)
    except KeyboardInterrupt:
        progress.close()
        print(f"interrupted; carry on with: {_resume(settings.command)}", file=sys.stderr)
        return INTERRUPTED
    reported = _report(plan, say)
    progress.close()
    _print_result(plan, document, reported, settings.uri or plan.search.output)
    return 0


def _report(plan: Plan, say: Callable[[str], None]) -> bool:
    """Write the page; all results are kept by now, so whatever goes wrong with it is a warning."""
    again = f"write it with: python -m kdsearch.report --output {shlex.quote(str(plan.search.output))}"
    try:
        from kdsearch.results.page.document import write_report

        write_report(plan.search.output, plan.dataset)
    except KeyboardInterrupt:
        say(f"warning: interrupted while report.html was written; {again}")
        return False
    except Exception as error:
        say(f"warning: report.html could not be written ({type(error).__name__}: {error}); {again}")
        return False
    return True


def _best_before(plan: Plan) -> tuple[float, int] | None:
    """Score and number of the best trial that a resumed search has already."""
    from kdsearch.search.record import ranked
    from kdsearch.search.study import read_study

    if not (plan.search.output / JOURNAL).is_file():
        return None
    found = ranked(read_study(plan.search.output))
    return (found[0].score, found[0].number) if found else None


def _warnings_only(line: str) -> None:
    if line.startswith("warning"):
        print(line, file=sys.stderr)


def _resume(command: str) -> str:
    return command if "--resume" in command.split() else f"{command} --resume"


def _print_result(plan: Plan, document: Mapping[str, Any], reported: bool, where: Path | Uri) -> None:
    from kdsearch.results.formats import render
    from kdsearch.results.front import read_front
    from kdsearch.results.gain import gain_over
    from kdsearch.results.result import Result
    from kdsearch.results.tables import best, comparison, front

    print()
    if plan.cost is not None:
        print(render(front(read_front(document, FRONT)), "md"))
    else:
        result = Result.read(document, BEST)
        print(render([*best([result]), *comparison([result])], "md"))
        gain = gain_over(document)
        if gain is not None:
            print(f"the winner's {gain}\n")
    found = [REPORT] if reported else []
    found += [] if plan.cost is None else [FRONT]
    found += [BEST, TRIALS, JOURNAL, f"{TENSORBOARD}/", f"{CHECKPOINTS}/"]
    print(f"everything is in {where}: {', '.join(found)}")
