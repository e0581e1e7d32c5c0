"""Pictures of a comparison."""

import os
from pathlib import Path

from .records import Comparison

__all__ = ["draw_layers"]

DENSE, SPARSE, LIMIT = "#b8c0c8", "#1f77b4", "#d95f02"


def draw_layers(comparison: Comparison, title: str, path: Path) -> None:
    """Draw cycles of every layer, dense and sparse, and the speed-up beside what skipping alone could give.

    Parameters
    ----------
    comparison : Comparison
        What was measured.
    title : str
        Heading.
    path : Path
        PNG file to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    layers = comparison.layers
    names = [layer.name for layer in layers]
    places = range(len(layers))
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 0.32 * len(layers) + 1.8), sharey=True, layout="constrained")
    figure.suptitle(title, fontsize=12)

    left.barh([place - 0.2 for place in places], [layer.cycles_dense for layer in layers], 0.4, color=DENSE, label="dense")
    left.barh([place + 0.2 for place in places], [layer.cycles_sparse for layer in layers], 0.4, color=SPARSE, label="sparse")
    left.set_yticks(list(places), names)
    left.set_xlabel(f"cycles: {comparison.cycles_dense:,} dense, {comparison.cycles_sparse:,} sparse")
    left.legend(loc="lower right", ncols=2)

    right.barh(list(places), [layer.speedup for layer in layers], 0.6, color=SPARSE, label="speed-up")
    limits = [1 / layer.density for layer in layers]
    right.scatter(limits, list(places), marker="|", s=160, linewidths=2, color=LIMIT, label="1 / density", zorder=3)
    right.set_xlabel(f"speed-up: {comparison.speedup:.2f} in all; 1 / density: {1 / comparison.density:.2f}")
    right.legend(loc="upper right")
    for axes in (left, right):
        axes.margins(y=0.01)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)

    left.invert_yaxis()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part.png")
    figure.savefig(temporary, dpi=120)
    plt.close(figure)
    os.replace(temporary, path)
