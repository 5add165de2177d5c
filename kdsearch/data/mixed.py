"""Training days that never were: mixtures of two, on which a student can learn what its teacher would say.

Mixup (Zhang et al., ICLR 2018) of whole days. A network that is trained on their readings gets worse, as nobody ever
drove like that; one that follows a teacher gets better, since it meets the teacher at more points than there are data
(Beyer et al., CVPR 2022, "Knowledge distillation: a good teacher is patient and consistent").
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdsearch.data.dataset import Dataset

__all__ = ["mix", "n_mixed"]

# The same for every search on the same data: a bank of the teacher then serves them all.
_SEED = 0


def n_mixed(dataset: Dataset) -> int:
    """How many mixed days stand beside the training days: as many as let one pass over all be a whole epoch.

    None where one pass over the training days is an epoch already, or where there is a single day.
    """
    days = dataset.split.train
    return (dataset.passes_per_epoch - 1) * days if days > 1 else 0


def mix(days: Tensor, count: int) -> Tensor:
    """Convex mixtures of two different days each, every day being one of the two about equally often.

    Args:
        days: ``[D, S, N]``, at least two.
        count: how many.

    Returns:
        ``[count, S, N]`` of the same unit; shares of the two are drawn evenly.
    """
    draw = torch.Generator().manual_seed(_SEED)
    n_days = days.shape[0]
    one = torch.arange(count) % n_days
    other = (one + torch.randint(1, n_days, (count,), generator=draw)) % n_days
    share = torch.rand(count, generator=draw).to(days)[:, None, None]
    return torch.lerp(days[one.to(days.device)], days[other.to(days.device)], share)
