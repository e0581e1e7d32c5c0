"""Settings of pruning."""

import dataclasses

from .errors import PruneError
from .saliency import Saliency

__all__ = ["PruneOptions"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """Settings of pruning.

    Parameters
    ----------
    sparsity : float
        Share of the weights of the pruned layers that becomes zero, 0 to 1 without 1. Includes what N:M takes.
    n, group : int
        N and M: of every M neighbouring weights in a kept block N stay.
    block : int
        B: 16, 32 or 64.
    floor : float
        Share of each layer's rank-columns that stays in any case, 0 to 1; at least one always does.
    saliency : Saliency
        What weights compete by.
    cycle_emphasis : float
        What rank-columns of different layers compete by, 0 to 1: salience / (weights x output pixels ** cycle_emphasis). At 0 a weight
        costs the same everywhere, which keeps the early layers, whose weights are used for many pixels, and gives the smallest network of
        a salience; at 1 a multiplication does, which gives the fastest.
    gradient_floor : float
        See `measure_saliency`.
    saliency_images : int
        Images that the saliency is measured on, in each iteration.
    comeback : float
        What the saliency of a hidden weight counts for when masks are chosen anew, 0 to 1: at 1 masks waver, at 0 nothing that was hidden
        comes back.
    iterations : int
        Steps in which the sparsity ramps up.
    iteration_images : int
        Images to fine-tune on after each iteration but the last.
    final_images : int
        Images to fine-tune on after the last.
    batch : int
        Images of a training step.
    learning_rate : float
        Peak learning rate.
    weight_decay : float
        L2 decay of all parameters.
    ste_decay : float
        Decay of hidden weights (SR-STE).
    keep_dense : tuple of str
        Names of layers that are not pruned, besides the first convolution and the last layer.
    seed : int
        Source of order and augmentation.
    """

    sparsity: float = 0.9
    n: int = 2
    group: int = 4
    block: int = 16
    floor: float = 0.18
    saliency: Saliency = Saliency.ABSOLUTE
    cycle_emphasis: float = 0.5
    gradient_floor: float = 4.0
    saliency_images: int = 512
    comeback: float = 0.3
    iterations: int = 4
    iteration_images: int = 2048
    final_images: int = 28672
    batch: int = 64
    learning_rate: float = 0.05
    weight_decay: float = 5e-4
    ste_decay: float = 2e-4
    keep_dense: tuple[str, ...] = ()
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise PruneError(f"sparsity must be at least 0 and below 1, not {self.sparsity}")
        if self.group not in (2, 4, 8, 16):
            raise PruneError(f"group must be one of 2, 4, 8, 16, not {self.group}")
        if not 1 <= self.n <= self.group:
            raise PruneError(f"n must be from 1 to group = {self.group}, not {self.n}")
        if self.block not in (16, 32, 64):
            raise PruneError(f"block must be one of 16, 32, 64, not {self.block}")
        for name in ("floor", "cycle_emphasis", "comeback"):
            if not 0 <= getattr(self, name) <= 1:
                raise PruneError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        for name in ("iterations", "batch", "saliency_images"):
            if getattr(self, name) < 1:
                raise PruneError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("iteration_images", "final_images", "gradient_floor", "weight_decay", "ste_decay"):
            if getattr(self, name) < 0:
                raise PruneError(f"{name} must not be negative, not {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise PruneError(f"learning_rate must be above 0, not {self.learning_rate}")
