"""Settings of pruning."""

import dataclasses
import difflib
import enum
import math
from collections.abc import Mapping
from typing import Any, Self

from crisp.models import Head

from .errors import PruneError
from .saliency import Saliency

__all__ = ["Order", "Precision", "Price", "PruneOptions", "Ranking", "Schedule"]


class Ranking(enum.Enum):
    """What a rank-column is worth when layers compete; formulae in `crisp.prune.ranking`."""

    RAW = "raw"  #: its salience, as in the paper
    NORMALIZED = "normalized"  #: its share of its layer's salience
    PRODUCT = "product"  #: by how much the logarithm of what its layer keeps falls without it
    UNIFORM = "uniform"  #: its place in its layer: all layers keep the same share, at any price


class Price(enum.Enum):
    """What a rank-column costs when layers compete."""

    NONE = "none"  #: all cost the same
    WEIGHTS = "weights"  #: the weights that it keeps
    MACS = "macs"  #: multiplications: its weights, each as often as its layer puts out pixels
    CYCLES = "cycles"  #: cycles on the machine, as predicted


class Schedule(enum.Enum):
    """How the density ramps down over the iterations; formulae in `crisp.prune.schedule`."""

    GEOMETRIC = "geometric"
    LINEAR = "linear"
    CUBIC = "cubic"


class Order(enum.Enum):
    """Which part of the pattern comes first."""

    TOGETHER = "together"  #: N:M and blocks in every iteration
    NM_FIRST = "nm-first"  #: N:M in the first iteration, then blocks
    BLOCKS_FIRST = "blocks-first"  #: blocks in all iterations but the last, then N:M


class Precision(enum.Enum):
    """What a network computes in while it trains; weights and their sums are float32 in any case."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"  #: products in bfloat16, by autocast: where the processor or the graphics card has it, faster


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """Settings of pruning.

    Parameters
    ----------
    sparsity : float
        Share of the weights of the pruned layers that becomes zero at least, 0 to 1 without 1. Includes what N:M takes. 0 asks for nothing.
    cycles : float, optional
        Predicted cycles of the pruned network at most, as a share of the dense network's, above 0 and at most 1.
    config : str
        Machine whose cycles count: a preset, or a TOML or JSON file.
    n, group : int
        N and M: of every M neighbouring weights in a kept block N stay; at most N where each block has its own.
    block : int
        B: 16, 32 or 64.
    per_block : bool
        Whether each block has its own N, from 0 to ``n``, instead of all that stay the same.
    floor : float
        Share of each layer's rank-columns that stays in any case, 0 to 1; at least one always does.
    saliency : Saliency
        What weights compete by.
    ranking : Ranking
        What rank-columns of different layers compete by: what they are worth ...
    price : Price
        ... divided by what they cost.
    gradient_floor : float
        See `measure_saliency`.
    saliency_images : int
        Images that the saliency is measured on, in each iteration.
    comeback : float
        What the saliency of a hidden weight counts for when masks are chosen anew, 0 to 1: at 1 masks waver, at 0 nothing that was hidden
        comes back.
    iterations : int
        Steps in which the sparsity ramps up.
    schedule : Schedule
        How it does.
    order : Order
        Whether N:M or blocks come first.
    keep_dense : tuple of str
        Names of layers that are not pruned, besides the first convolution and the last layer.
    seed : int
        Source of everything random: order, augmentation, what a selector draws. Not negative.
    head : Head
        Whether the network keeps all its outputs, and answers among them, or those of the user's classes only.
    iteration_images : int
        Images to fine-tune on after each iteration but the last.
    final_images : int
        Images to fine-tune on after the last.
    batch : int
        Images of a training step.
    microbatch : int
        Images that are computed at a time, a divisor of ``batch``: gradients and the statistics of batch norms are averaged over a step's
        micro-batches, which several processes share. 0 is the whole batch, or with several processes an equal part for each.
    learning_rate : float
        Peak learning rate.
    warm_up_steps : int
        Steps in which the learning rate rises.
    momentum : float
        Nesterov momentum, 0 to 1 without 1.
    weight_decay : float
        L2 decay of all parameters.
    ste_decay : float
        Decay of hidden weights (SR-STE).
    distillation : float
        Share of the loss that is the difference from a teacher's answers, 0 to 1; the rest is cross entropy. See `crisp.prune.trainer`.
    temperature : float
        What logits are divided by before teacher's and student's answers are compared.
    device : str
        ``cpu``, ``cuda``, ``cuda:1``, or ``auto``: a graphics card where there is one.
    precision : Precision
        What the network computes in while it trains.
    channels_last : bool
        Whether images and weights lie channels last in memory, which is faster on most devices.
    """

    sparsity: float = 0.9
    cycles: float | None = None
    config: str = "default"
    n: int = 4
    group: int = 4
    block: int = 16
    per_block: bool = True
    floor: float = 0.0
    saliency: Saliency = Saliency.MAGNITUDE
    ranking: Ranking = Ranking.PRODUCT
    price: Price = Price.MACS
    gradient_floor: float = 4.0
    saliency_images: int = 512
    comeback: float = 0.3
    iterations: int = 4
    schedule: Schedule = Schedule.GEOMETRIC
    order: Order = Order.TOGETHER
    keep_dense: tuple[str, ...] = ()
    seed: int = 1

    head: Head = Head.REDUCED
    iteration_images: int = 2048
    final_images: int = 28672
    batch: int = 64
    microbatch: int = 0
    learning_rate: float = 0.05
    warm_up_steps: int = 10
    momentum: float = 0.9
    weight_decay: float = 5e-4
    ste_decay: float = 2e-4
    distillation: float = 0.9
    temperature: float = 4.0
    device: str = "auto"
    precision: Precision = Precision.FLOAT32
    channels_last: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise PruneError(f"sparsity must be at least 0 and below 1, not {self.sparsity}")
        if self.cycles is not None and not 0 < self.cycles <= 1:
            raise PruneError(f"cycles must be a share of the dense network's, above 0 and at most 1, not {self.cycles}")
        if self.group not in (2, 4, 8, 16):
            raise PruneError(f"group must be one of 2, 4, 8, 16, not {self.group}")
        if not 1 <= self.n <= self.group:
            raise PruneError(f"n must be from 1 to group = {self.group}, not {self.n}")
        if self.block not in (16, 32, 64):
            raise PruneError(f"block must be one of 16, 32, 64, not {self.block}")
        for name in ("floor", "comeback"):
            if not 0 <= getattr(self, name) <= 1:
                raise PruneError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        for name in ("iterations", "saliency_images"):
            if getattr(self, name) < 1:
                raise PruneError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("gradient_floor", "seed"):
            if getattr(self, name) < 0:
                raise PruneError(f"{name} must not be negative, not {getattr(self, name)}")
        if self.order is not Order.TOGETHER and (self.per_block or self.n == self.group):
            raise PruneError(
                f"order must be together where blocks have an N each, or N is M, not {self.order.value}; for one part of the pattern to "
                f"come first, set per_block to false and n below {self.group}"
            )
        if self.order is not Order.TOGETHER and self.iterations < 2:
            raise PruneError(f"iterations must be at least 2 where one part of the pattern comes first, not {self.iterations}")
        self.check_training()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise PruneError(f"{field.name} must be finite, not {value}")

    def check_training(self) -> None:
        """Check what concerns training."""
        if self.batch < 1:
            raise PruneError(f"batch must be at least 1, not {self.batch}")
        if self.microbatch < 0 or self.batch % (self.microbatch or self.batch):
            raise PruneError(f"microbatch must divide batch = {self.batch}, or be 0 for all of it, not {self.microbatch}")
        for name in ("iteration_images", "final_images", "warm_up_steps", "weight_decay", "ste_decay"):
            if getattr(self, name) < 0:
                raise PruneError(f"{name} must not be negative, not {getattr(self, name)}")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise PruneError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.momentum < 1:
            raise PruneError(f"momentum must be at least 0 and below 1, not {self.momentum}")
        if not 0 <= self.distillation <= 1:
            raise PruneError(f"distillation must be from 0 to 1, not {self.distillation}")

    @property
    def counts_cycles(self) -> bool:
        """Whether the cycles of a machine matter."""
        return self.cycles is not None or self.price is Price.CYCLES

    @property
    def is_dense(self) -> bool:
        """Whether nothing is to be pruned: then the network is fine-tuned only, on as many images."""
        return self.sparsity == 0 and self.n == self.group and self.cycles is None

    def to_dict(self) -> dict[str, Any]:
        """Return the settings by name, as JSON and TOML have them; without what is none."""
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: value.value if isinstance(value, enum.Enum) else list(value) if isinstance(value, tuple) else value
            for name, value in settings.items()
            if value is not None
        }

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Make options of settings by name, as JSON and TOML have them. With ``cycles`` alone, sparsity is 0: nothing is asked of it.

        Raises
        ------
        PruneError
            When there is no such setting, or its value has the wrong type or breaks a rule.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {"sparsity": 0.0} if "cycles" in settings else {}
        for name, value in settings.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise PruneError(
                    f"{name} must be a setting of pruning, but is none; {f'did you mean {near[0]}?' if near else 'see PruneOptions'}"
                )
            values[name] = convert(name, value, known[name].default)
        return cls(**values)


def convert(name: str, value: Any, default: Any) -> Any:
    """Return the value of a setting in the type of its ``default``."""
    if isinstance(default, enum.Enum):
        kinds = {kind.value: kind for kind in type(default)}
        if not isinstance(value, str) or value not in kinds:
            raise PruneError(f"{name} must be one of {', '.join(kinds)}, not {value!r}")
        return kinds[value]
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise PruneError(f"{name} must be a list of names, not {value!r}")
        return tuple(value)
    wanted = float if default is None else type(default)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise PruneError(f"{name} must be finite, not {value}") from None
    if type(value) is not wanted:
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise PruneError(f"{name} must be {words[wanted]}, not {value!r}")
    return value
