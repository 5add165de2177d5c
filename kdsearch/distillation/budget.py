"""Whether a bank may hold all node pairs, or which share of them its memory allows."""

from __future__ import annotations

from kdsearch.distillation.bank import bank_bytes
from kdsearch.distillation.losses import Needs
from kdsearch.distillation.sampled import Sampling
from kdsearch.models.stgcn import STGCN

__all__ = ["PAIRS", "SMALLEST_REACH", "sampling_for"]

# Pairs of a time step that sampling aims at: as many as the 228 sensors of PeMSD7 have. A step of L_SCD then costs at
# any N what it costs there. More would be no better: with the 5% of pairs that these are at 1026 sensors, the gradient
# of L_SCD is off by 0.2%, where minibatches differ by 20% (experiments/benchmarks/RESULTS.md).
PAIRS = 228 * 227 // 2

# With each node's pairs with 4 that follow it, the gradient at 1026 sensors is off by 0.5%. Fewer are not sampled.
SMALLEST_REACH = 4


def sampling_for(
    teacher: STGCN, n_days: int, steps_per_day: int, needs: Needs, allowed: int, seed: int
) -> Sampling | None:
    """The pairs to sample where a bank of all of them exceeds the memory.

    The number of pairs depends on N alone as long as their bank fits; then it is halved until it does. Results with
    the same pairs compare, so free memory should have little say.

    Args:
        teacher: its architecture counts, not its weights.
        n_days: of the training part.
        steps_per_day: readings a day.
        needs: of the loss.
        allowed: bytes the bank may take.
        seed: of the sampling.

    Returns:
        None if a bank of all pairs fits, if sampling would not help, or if not even the fewest pairs fit.
    """
    if not needs.spatial_correlation or bank_bytes(teacher, n_days, steps_per_day, needs) <= allowed:
        return None
    n = teacher.n_nodes
    reach = min(max(PAIRS // n, SMALLEST_REACH), n // 4)  # half of all pairs at most, or nothing is won
    while reach >= SMALLEST_REACH:
        sampling = Sampling(reach, seed)
        if bank_bytes(teacher, n_days, steps_per_day, needs, sampling) <= allowed:
            return sampling
        reach //= 2
    return None
