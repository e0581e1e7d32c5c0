"""How pictures of experiments look: every method has one place, colour and mark in all of them.

Colours are those of M. Okabe and K. Ito, "Color Universal Design", 2008, which are told apart with any kind of colour blindness; marks and
dashes tell methods apart without any colour. Ours is the one that is drawn boldest.
"""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .methods import METHODS, OURS
from .records import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Style", "finish", "methods_of", "styles"]

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE, GREY = (
    "#000000",
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#c8b900",  # theirs, #f0e442, is hardly seen on white
    "#0072b2",
    "#d55e00",
    "#cc79a7",
    "#808080",
)


@dataclasses.dataclass(frozen=True)
class Style:
    """How a method is drawn.

    Parameters
    ----------
    label : str
        What the legend calls it.
    colour, mark, dash : str
        As matplotlib has them.
    width : float
        Of its line.
    """

    label: str
    colour: str
    mark: str = "o"
    dash: str = "-"
    width: float = 1.4


#: By base method: colour, mark and dash. What differs from another in its choice of blocks alone has that one's colour.
LOOKS = {
    "dense": (BLACK, "_", ":"),
    "unstructured": (GREY, "x", ":"),
    "nm": (ORANGE, "s", "-"),
    "block": (GREEN, "D", "-"),
    "channel": (PURPLE, "v", "-"),
    "crisp": (RED, "o", "-"),
    "crisp-random": (RED, "P", "--"),
    "crisp-published": (YELLOW, "X", "-"),
    "crisp-misordered": (YELLOW, "<", "--"),
    "crisp-frozen": (YELLOW, ">", ":"),
    "hybrid-random": (BLUE, "P", "--"),
    "hybrid-weights": (BLUE, "D", "-."),
    OURS: (BLUE, "o", "-"),
}
#: For methods that an experiment makes of another one.
VARIANTS = (SKY, PURPLE, GREEN, ORANGE, BLACK, GREY)
VARIANT_MARKS = ("^", "v", "h", "p", "8", "d")


def styles(records: Iterable[Record]) -> dict[str, Style]:
    """Return how each method of ``records`` is drawn, in the order of legends."""
    found: dict[str, Style] = {}
    variants = 0
    for name in methods_of(records):
        if name in METHODS:
            colour, mark, dash = LOOKS.get(name, (SKY, "*", "-"))
            found[name] = Style(METHODS[name].label, colour, mark, dash, 2.4 if name == OURS else 1.4)
        else:
            found[name] = Style(name, VARIANTS[variants % len(VARIANTS)], VARIANT_MARKS[variants % len(VARIANT_MARKS)], "-.")
            variants += 1
    return found


def methods_of(records: Iterable[Record]) -> dict[str, str]:
    """Return the methods of records with what they are based on: those of the library in its order, then an experiment's own."""
    bases = {record["method"]: record["base_method"] for record in records}
    known = list(METHODS)
    order = sorted(bases, key=lambda name: (known.index(name) if name in known else len(known), known.index(bases[name]), name))
    return {name: bases[name] for name in order}


def finish(axes: "Iterable[Axes]") -> None:
    """Give panels their grid and take the frame away."""
    for part in axes:
        part.grid(alpha=0.3, linewidth=0.6)
        part.spines[["top", "right"]].set_visible(False)
