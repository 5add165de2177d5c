"""How many trials run at once, on what: decided and checked before Ray starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from kdsearch.errors import UserError
from kdsearch.limits import cores

__all__ = ["Machine", "Node", "Plan", "local_machine", "make_plan"]

Auto = Literal["auto"]

# A CUDA context, its kernels and cuBLAS workspaces: memory that a process takes beside its tensors.
CONTEXT_BYTES = 700 * 2**20
# Of a step's measured peak: fragmentation, larger batches of other trials, validation.
HEADROOM = 1.5
# Of a device, left to whatever else runs there.
RESERVE = 0.08
# Trials on one device where no peak was measured.
BLIND_SHARE = 4


@dataclass(frozen=True)
class Node:
    """One machine: CPU cores and devices that Ray may give away."""

    cpus: float
    gpus: float = 0


@dataclass(frozen=True)
class Machine:
    """All nodes; ``gpu_bytes`` is the memory of one device where it is known."""

    nodes: tuple[Node, ...]
    gpu_bytes: int | None = None

    @property
    def cpus(self) -> float:
        """In total."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """In total."""
        return sum(node.gpus for node in self.nodes)


@dataclass(frozen=True)
class Plan:
    """What each trial gets.

    Attributes:
        cpus, gpus: of one trial.
        concurrency: trials at once.
        memory_fraction: of its device a trial may allocate; None for all of it.
    """

    cpus: float
    gpus: float
    concurrency: int
    memory_fraction: float | None = None


def local_machine() -> Machine:
    """This machine, with the cores this process may use and the devices torch can use."""
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Machine((Node(cores(), gpus),), gpu_bytes())


def gpu_bytes() -> int | None:
    """Memory of the smallest device here."""
    import torch

    if not torch.cuda.is_available():
        return None
    return min(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count()))


def make_plan(
    machine: Machine,
    trials: int,
    concurrency: int | Auto = "auto",
    cpus_per_trial: float = 1,
    gpus_per_trial: float | Auto = "auto",
    peak_bytes: int | None = None,
) -> Plan:
    """Decide what each trial gets; an infeasible request would hang in Ray until the time budget.

    A trial's CPUs limit how many share a device: two cores and one CPU a trial make two at a time, whatever the share.

    Args:
        machine: what there is.
        trials: to run; more at once make no sense.
        concurrency: ``"auto"`` for as many as fit, else the most to run at once.
        cpus_per_trial: threads of a trial.
        gpus_per_trial: share of a device, whole devices, or ``"auto"``.
        peak_bytes: device memory one trial was seen to need.

    Raises:
        UserError: the request does not fit, in one sentence.
    """
    most_cpus = max(node.cpus for node in machine.nodes)
    most_gpus = max(node.gpus for node in machine.nodes)
    if cpus_per_trial <= 0:
        raise UserError(f"--cpus-per-trial: wants more than 0, not {cpus_per_trial:g}")
    if cpus_per_trial > most_cpus:
        raise UserError(f"--cpus-per-trial {cpus_per_trial:g}: no machine here has more than {most_cpus:g} CPUs")
    if gpus_per_trial == "auto":
        gpus = _share(machine, cpus_per_trial, peak_bytes) if machine.gpus else 0.0
    else:
        gpus = float(gpus_per_trial)
    if gpus < 0 or (gpus > 1 and not gpus.is_integer()):
        raise UserError(f"--gpus-per-trial: wants a share between 0 and 1 or a whole number, not {gpus:g}")
    if gpus > most_gpus:
        there = f"has more than {most_gpus:g}" if most_gpus else "has one that Ray and torch can use"
        raise UserError(f"--gpus-per-trial {gpus:g}: no machine here {there}; --gpus-per-trial 0 runs on the CPU")
    fit = sum(_fit(node, cpus_per_trial, gpus) for node in machine.nodes)
    if concurrency == "auto":
        wanted = fit
    elif concurrency < 1:
        raise UserError(f"--concurrency: wants at least 1, not {concurrency}")
    elif concurrency > fit:
        need = f"{cpus_per_trial:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
        raise UserError(f"--concurrency {concurrency}: only {fit} trials of {need} each fit at once here")
    else:
        wanted = concurrency
    return Plan(cpus_per_trial, gpus, max(1, min(wanted, trials)), _memory_fraction(machine, gpus))


def _share(machine: Machine, cpus_per_trial: float, peak_bytes: int | None) -> float:
    """Share of a device a trial gets: as small as its memory allows, no smaller than the CPUs can use."""
    node = max(machine.nodes, key=lambda n: n.gpus)
    by_cpu = max(1, int(node.cpus / cpus_per_trial / max(1.0, node.gpus)))
    if peak_bytes is None or machine.gpu_bytes is None:
        by_memory = BLIND_SHARE
    else:
        usable = machine.gpu_bytes * (1 - RESERVE)
        by_memory = max(1, int(usable / (peak_bytes * HEADROOM + CONTEXT_BYTES)))
    return math.floor(1e4 / min(by_cpu, by_memory)) / 1e4  # Ray counts in ten-thousandths


def _fit(node: Node, cpus: float, gpus: float) -> int:
    by_cpu = int(node.cpus / cpus + 1e-9)
    if gpus == 0:
        return by_cpu
    by_gpu = int(node.gpus) * int(1 / gpus + 1e-9) if gpus <= 1 else int(node.gpus / gpus)
    return min(by_cpu, by_gpu)


def _memory_fraction(machine: Machine, gpus: float) -> float | None:
    """Of a device, for the tensors of a trial that has less than all of it: its share without its context."""
    if not 0 < gpus < 1:
        return None
    context = CONTEXT_BYTES / machine.gpu_bytes if machine.gpu_bytes else 0.0
    return max(gpus * (1 - RESERVE) - context, gpus / 4)
