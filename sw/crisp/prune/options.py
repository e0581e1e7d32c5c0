"""Settings of pruning."""

import dataclasses
import difflib
import enum
from collections.abc import Mapping
from typing import Any, Self

from .errors import PruneError
from .saliency import Saliency

__all__ = ["Order", "Price", "PruneOptions", "Ranking", "Schedule"]


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
    cycles: float | None = None
    config: str = "default"
    n: int = 2
    group: int = 4
    block: int = 16
    per_block: bool = False
    floor: float = 0.18
    saliency: Saliency = Saliency.ABSOLUTE
    ranking: Ranking = Ranking.RAW
    price: Price = Price.WEIGHTS
    gradient_floor: float = 4.0
    saliency_images: int = 512
    comeback: float = 0.3
    iterations: int = 4
    schedule: Schedule = Schedule.GEOMETRIC
    order: Order = Order.TOGETHER
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
        for name in ("iterations", "batch", "saliency_images"):
            if getattr(self, name) < 1:
                raise PruneError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("iteration_images", "final_images", "gradient_floor", "weight_decay", "ste_decay"):
            if getattr(self, name) < 0:
                raise PruneError(f"{name} must not be negative, not {getattr(self, name)}")
        if self.order is not Order.TOGETHER and self.iterations < 2:
            raise PruneError(f"iterations must be at least 2 where one part of the pattern comes first, not {self.iterations}")
        if not self.learning_rate > 0:
            raise PruneError(f"learning_rate must be above 0, not {self.learning_rate}")

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
        """Make options of settings by name, as JSON and TOML have them.

        Raises
        ------
        PruneError
            When there is no such setting, or its value has the wrong type or breaks a rule.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        values = {}
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
        if value not in kinds:
            raise PruneError(f"{name} must be one of {', '.join(kinds)}, not {value!r}")
        return kinds[value]
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise PruneError(f"{name} must be a list of names, not {value!r}")
        return tuple(value)
    wanted = float if default is None else type(default)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not wanted:
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise PruneError(f"{name} must be {words[wanted]}, not {value!r}")
    return value
