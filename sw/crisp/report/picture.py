"""Pictures of results, written whole or not at all."""

from pathlib import Path
from typing import TYPE_CHECKING

from crisp.arch.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["save_figure"]

DOTS_PER_INCH = 120


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG, and close it.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    import matplotlib.pyplot as plt

    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png")
    plt.close(figure)
