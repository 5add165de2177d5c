"""Several trials on one device, each a process of its own, as a search runs them."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from multiprocessing import get_context
from typing import Any

from kdsearch.data import Dataset
from kdsearch.errors import UserError

__all__ = ["share_device"]

_PATIENCE_S = 300.0


def share_device(
    trials: Sequence[int], dataset: Dataset, loss: str, batch: int, device: str, seconds: float
) -> list[dict[str, Any]]:
    """Updates a second of 1, 2, ... trials at once.

    Each has a bank of its own on the device, as a search's trials have. On the CPU each has one thread.

    Returns:
        A row for each number of trials: updates a second of all and of one, throughput against one trial, and the
        largest peak of device memory of a trial.

    Raises:
        UserError: a trial died or did not answer.
    """
    rows: list[dict[str, Any]] = []
    for count in trials:
        context = get_context("spawn")
        ready, answers = context.Barrier(count), context.Queue()
        arguments = (dataset, loss, batch, device, seconds, ready, answers)
        processes = [context.Process(target=_trial, args=arguments, daemon=True) for _ in range(count)]
        for process in processes:
            process.start()
        try:
            found = [_answer(answers, processes) for _ in processes]
        finally:
            for process in processes:
                process.join(5.0)
                if process.is_alive():
                    process.kill()
        total = sum(rate for rate, _ in found)
        first = rows[0]["updates_a_s"] / rows[0]["trials"] if rows else total / count
        rows.append(
            {
                "trials": count,
                "updates_a_s": total,
                "of_one": total / count,
                "throughput": total / first,
                "peak_MB_a_trial": max(peak for _, peak in found) / 1e6,
            }
        )
    return rows


def _answer(answers: Any, processes: Sequence[Any]) -> tuple[float, int]:
    for _ in range(int(_PATIENCE_S)):
        try:
            found: tuple[float, int] = answers.get(timeout=1.0)
            return found
        except queue.Empty:
            dead = [p.exitcode for p in processes if p.exitcode not in (None, 0)]
            if dead:
                raise UserError(
                    f"a trial of {len(processes)} died with exit code {dead[0]}, probably of memory"
                ) from None
    raise UserError(f"{len(processes)} trials gave no answer in {_PATIENCE_S:.0f} s")


def _trial(dataset: Dataset, loss: str, batch: int, device: str, seconds: float, ready: Any, answers: Any) -> None:
    import torch

    from experiments.benchmarks.device import Peak, rate
    from experiments.benchmarks.training import Update
    from kdsearch.data import Windows
    from kdsearch.distillation import losses
    from kdsearch.distillation.bank import BankReader, TeacherBank
    from kdsearch.models.stgcn import TEACHER
    from kdsearch.training.network import new_network

    torch.set_num_threads(1)
    at = torch.device(device)
    teacher = new_network(dataset, TEACHER, 0).to(at).eval()
    bank = TeacherBank.build(teacher, Windows(dataset, "train", at).days, losses.get(loss).NEEDS)
    del teacher
    if at.type == "cuda":
        torch.cuda.empty_cache()
    peak = Peak(at)
    update = Update(dataset, loss, BankReader(bank, at), batch, at)
    for _ in range(3):
        update()
    ready.wait(_PATIENCE_S)
    answers.put((rate(update, seconds, at, warm_up=0), peak.bytes()))
