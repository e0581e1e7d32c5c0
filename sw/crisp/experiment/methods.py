"""Methods by name: what is compared at the same sparsity, or at the same cycles.

A method is settings of pruning that define it and a choice of masks; everything else, images and learning rate above all, is the
experiment's and the same for all.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from crisp.prune import Order, PruneOptions
from crisp.prune.masks import choose_masks
from crisp.prune.selection import Selector

from .errors import ExperimentError
from .fields import nearest
from .selectors import PublishedChoice, choose_nm, choose_random_blocks, choose_unstructured

__all__ = ["DENSE", "METHODS", "OURS", "Method", "find_method"]

#: Name of the method that all others are compared with.
OURS = "hybrid"


def unchanged(options: PruneOptions) -> PruneOptions:
    """Return the options as they are."""
    return options


def all_of_group(options: PruneOptions) -> PruneOptions:
    """Return options with N = M: the pattern has no N:M."""
    return dataclasses.replace(options, n=options.group, per_block=False, order=Order.TOGETHER)


def blocks_alone(options: PruneOptions) -> PruneOptions:
    """Return options with N = M whose floor is as many weights as it was with N."""
    return dataclasses.replace(all_of_group(options), floor=options.floor * options.n / options.group)


def plain(options: PruneOptions) -> PruneOptions:
    """Return options whose pattern is none, whatever an experiment says of patterns."""
    return dataclasses.replace(all_of_group(options), block=PruneOptions().block)


def nothing(options: PruneOptions) -> PruneOptions:
    """Return options that hide no weight."""
    return dataclasses.replace(plain(options), sparsity=0.0, cycles=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A method.

    Parameters
    ----------
    name : str
        Name in experiment files and records.
    label : str
        What pictures and tables call it.
    text : str
        What it does, in a sentence.
    options : mapping
        Settings of `PruneOptions` that define it, by name.
    finish : callable
        What it does to the options last of all, whatever an experiment says.
    make_selector : callable
        Makes the choice of masks for one run.
    pattern : str
        What records call its pattern; empty where patterns say it themselves.
    has_level : bool
        Whether it prunes at all.
    takes_channels : bool
        Whether it gives a smaller network instead of masks: see `crisp.experiment.channel_method`.
    has_memory : bool
        Whether its choice of masks depends on the ones before, so that a run cannot go on in the middle.
    revision : int
        Raised when its runs come to mean something else, so that those of before are done again.
    """

    name: str
    label: str
    text: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    finish: Callable[[PruneOptions], PruneOptions] = unchanged
    make_selector: Callable[[], Selector] = lambda: choose_masks
    pattern: str = ""
    has_level: bool = True
    takes_channels: bool = False
    has_memory: bool = False
    revision: int = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return find_method, (self.name, "a process")  # functions without a name do not travel to other processes


#: The paper's settings: saliency |w x mean gradient| over the user's batches, rank-columns ranked globally as they are, one stays.
PAPER = {
    "n": 2,
    "per_block": False,
    "floor": 0.0,
    "saliency": "taylor",
    "gradient_floor": 0.0,
    "ranking": "raw",
    "price": "none",
    "comeback": 1.0,
    "schedule": "linear",
    "order": "together",
}

#: The network that all others are compared with.
DENSE = Method(
    name="dense",
    label="dense",
    text="No weight is hidden; fine-tuned on the user's classes for as long as the others.",
    finish=nothing,
    pattern="dense",
    has_level=False,
)

#: All methods, in the order of pictures and tables.
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        DENSE,
        Method(
            name="unstructured",
            label="unstructured",
            text="The most salient weights of all layers, wherever they stand: the most accurate at a sparsity, and hardly faster.",
            finish=all_of_group,
            make_selector=lambda: choose_unstructured,
            pattern="unstructured",
        ),
        Method(
            name="nm",
            label="N:M only",
            text="All blocks stay, one N in all layers; 1:M is its limit.",
            finish=all_of_group,
            make_selector=lambda: choose_nm,
        ),
        Method(name="block", label="block only", text="Whole blocks stay, chosen and allocated as ours.", finish=blocks_alone),
        Method(
            name="channel",
            label="channels",
            text="Whole channels go, by what they contribute to the loss on the user's classes: a smaller dense network.",
            finish=plain,
            pattern="channels",
            takes_channels=True,
            revision=1,  # the last channels of a layer that may go had counted for those that stay, too
        ),
        Method(name="crisp", label="CRISP", text="The paper's: N:M and blocks, raw global ranking by Taylor saliency.", options=PAPER),
        Method(
            name="crisp-random",
            label="CRISP, random blocks",
            text="As many blocks in each layer as CRISP keeps, but random ones.",
            options=PAPER,
            make_selector=lambda: choose_random_blocks,
        ),
        Method(
            name="crisp-published",
            label="CRISP, public code",
            text="CRISP with two faults of its public code: wrong order of blocks, frozen N:M masks.",
            options=PAPER,
            make_selector=PublishedChoice,
            has_memory=True,
        ),
        Method(
            name="crisp-misordered",
            label="CRISP, wrong order",
            text="CRISP with the public code's order of blocks alone.",
            options=PAPER,
            make_selector=lambda: PublishedChoice(freeze=False),
        ),
        Method(
            name="crisp-frozen",
            label="CRISP, frozen N:M",
            text="CRISP with the public code's frozen N:M masks alone.",
            options=PAPER,
            make_selector=lambda: PublishedChoice(misorder=False),
            has_memory=True,
        ),
        Method(
            name="hybrid-random",
            label="ours, random blocks",
            text="As many blocks in each layer as ours keeps, but random ones.",
            make_selector=lambda: choose_random_blocks,
        ),
        Method(
            name="hybrid-weights",
            label="ours, by weights",
            text='Ours, but layers compete by weights (`price = "weights"`), whatever `[options]` says: the most accurate at a sparsity, '
            "and slower.",
            options={"price": "weights"},
        ),
        Method(name=OURS, label="ours", text="The library's choice of masks."),
    )
}


def find_method(name: str, place: str) -> Method:
    """Return the method of a name.

    Raises
    ------
    ExperimentError
        When there is none.
    """
    if name not in METHODS:
        raise ExperimentError(f"{place}: method must be one of {', '.join(METHODS)}, not {name!r}; {nearest(name, METHODS)}")
    return METHODS[name]
