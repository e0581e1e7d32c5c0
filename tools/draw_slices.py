"""Draw docs/images/slices.png: what stays of a layer with one N for all its blocks, and with one for each, in equally many steps."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crisp.prune.blocks import RankColumns, block_sums

BLOCK, GROUP = 16, 4
ROWS, COLUMNS = 3, 9
STEPS = 10
KEPT, GONE, EDGE = "#2b6ca3", "#dfe5ea", "#7d93a8"


def draw(axes: Axes, slices: np.ndarray, n: np.ndarray, title: str) -> None:
    """Draw each block as a pile of slices, as wide as they are salient, the kept ones in colour."""
    largest = slices.max()
    for row in range(ROWS):
        for column in range(COLUMNS):
            left, top = column * 1.15, row * 1.25
            axes.add_patch(mpl.patches.Rectangle((left, top), 1, 1, facecolor="white", edgecolor=EDGE, linewidth=0.8))
            for level in range(GROUP):
                width = slices[row, column, level] / largest
                colour = KEPT if level < n[row, column] else GONE
                axes.add_patch(
                    mpl.patches.Rectangle((left + (1 - width) / 2, top + 1 - (level + 1) / GROUP + 0.02), width, 0.21, color=colour)
                )
            axes.text(left + 0.5, top + 1.15, f"N = {n[row, column]}", ha="center", va="center", fontsize=7, color="#44505c")
    axes.set_xlim(-0.05, COLUMNS * 1.15)
    axes.set_ylim(ROWS * 1.25, -0.1)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=10, loc="left")


def main() -> None:
    """Choose blocks and slices of a drawn layer with the library's code, and draw both."""
    random = np.random.default_rng(5)
    shape = (ROWS * BLOCK, COLUMNS * BLOCK)
    loud = np.repeat(np.repeat(random.uniform(0.3, 1.7, size=(ROWS, COLUMNS)), BLOCK, axis=0), BLOCK, axis=1)
    scores = np.abs(random.normal(size=shape)) * loud
    exists = np.ones(shape, bool)
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    for place, (steps, n, words) in enumerate(((2, 2, "One N for the layer, 2:4"), (1, 4, "An N for each block")), 1):
        columns = RankColumns.measure(scores, exists, block=BLOCK, group=GROUP, n=n, steps=steps)
        chosen = columns.n(STEPS // steps)
        kept = float((scores * columns.mask(chosen, exists, BLOCK)).sum() / scores.sum())
        slices = np.stack([block_sums(scores * (columns.ranks == level), BLOCK) for level in range(GROUP)], axis=2)
        title = f"{words}: {STEPS} steps of {COLUMNS * GROUP} in every block row, {kept:.0%} of the saliency"
        draw(figure.add_subplot(2, 1, place), slices, chosen, title)
    figure.savefig(Path(__file__).parents[1] / "docs/images/slices.png", dpi=110, metadata={"Software": ""})


if __name__ == "__main__":
    main()
