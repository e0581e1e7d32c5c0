"""Pictures of experiments: what accuracy costs by each method.

A point is the mean over class sets and seeds of the drop against the dense network that was fine-tuned alike, paired; its bar is the 95%
interval over seeds. Levels that a method cannot reach have no point.
"""

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crisp.report import save_figure

from .levels import LevelKind
from .methods import DENSE, OURS
from .records import Record, by, of_kind, reached, separate
from .statistics import Interval, Sample, drops, seed_interval
from .style import Style, finish, methods_of, styles
from .trials import find_trials
from .trials_plot import draw_trials

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_all", "draw_blocks", "draw_classes", "draw_cycles", "draw_saliency", "draw_sparsity"]

#: Points below the dense network's accuracy at which the axis ends, so that one bad method does not flatten all others.
SHOWN_DROP = 12.0
#: Level that pictures of one level show, where there are several.
SHOWN_LEVEL = 0.9
DROP = "points below dense, top-1"


class Axis(enum.Enum):
    """What a line runs across."""

    NUMBERS = enum.auto()  #: any numbers
    COUNTS = enum.auto()  #: a few whole numbers, side by side: lines are moved aside, so that bars do not hide each other
    SPARSITY = enum.auto()  #: percent, each halving of what is left as wide as any other


#: Sparsities that an axis may name, in percent.
SPARSITIES = (0, 50, 60, 70, 75, 80, 85, 90, 92, 95, 97, 98, 99)

#: Place and value of a point.
Point = tuple[float, Interval]


def draw_all(records: Sequence[Record], output: Path) -> list[Path]:
    """Draw all pictures that ``records`` have enough for; variants of ours that are compared with each other have one of their own.

    Parameters
    ----------
    records : sequence of mapping
        Records, as `collect` gives them.
    output : Path
        Folder to write PNG files to.

    Returns
    -------
    list of Path
        What was drawn.
    """
    separated, drawn = separate(records), []
    trials = find_trials(separated)
    if draw_trials(trials, output / "pruning-settings.png"):
        drawn, variants = [output / "pruning-settings.png"], {trial.name for trial in trials}
        separated = [record for record in separated if record["method"] not in variants]
        if not {record["method"] for record in separated} - {DENSE.name, OURS}:
            return drawn  # there is nothing else to compare
    pictures: dict[str, Callable[[Sequence[Record], Path], bool]] = {
        "pruning-cycles.png": draw_cycles,
        "pruning-sparsity.png": draw_sparsity,
        "pruning-classes.png": draw_classes,
        "pruning-blocks.png": draw_blocks,
        "pruning-saliency.png": draw_saliency,
    }
    return drawn + [output / name for name, draw in pictures.items() if draw(separated, output / name)]


def draw_cycles(records: Sequence[Record], path: Path) -> bool:
    """Draw the drop in accuracy against the speed-up over the dense network, a panel a network; tell whether there is anything to draw."""
    chosen = of_level(records, LevelKind.UNIFORM, LevelKind.CYCLES)

    def point(cell: Sequence[Record]) -> Point:
        return float(np.mean([record["cycles_dense"] / record["cycles"] for record in cell])), mean_drop(cell)

    return draw_lines(chosen, path, point, "times as fast as dense, by predicted cycles", DROP)


def draw_sparsity(records: Sequence[Record], path: Path) -> bool:
    """Draw the drop in accuracy against sparsity, a panel a network; tell whether there is anything to draw."""

    def point(cell: Sequence[Record]) -> Point:
        return 100 * float(np.mean([record["sparsity"] for record in cell])), mean_drop(cell)

    chosen = of_level(records, LevelKind.SPARSITY)
    return draw_lines(chosen, path, point, "sparsity of the pruned layers, %", DROP, axis=Axis.SPARSITY)


def draw_saliency(records: Sequence[Record], path: Path) -> bool:
    """Draw the share of all saliency that the kept weights have against sparsity; tell whether there is anything to draw.

    Each method measures by its own saliency; methods with the same one can be compared.
    """
    measured = [record for record in records if record["kept_share"] is not None]
    chosen = of_level(measured, LevelKind.SPARSITY) or of_level(measured, *LevelKind)

    def point(cell: Sequence[Record]) -> Point:
        shares = [Sample(tuple(record["classes"]), 100 * record["kept_share"]) for record in cell]
        return 100 * float(np.mean([record["sparsity"] for record in cell])), seed_interval(shares)

    return draw_lines(chosen, path, point, "sparsity of the pruned layers, %", "saliency kept, %", limit=None, axis=Axis.SPARSITY)


def draw_classes(records: Sequence[Record], path: Path) -> bool:
    """Draw the drop in accuracy against the number of user classes, at the level that most have; tell whether there is anything to draw."""
    chosen, level = at_common_level(of_level(records, *LevelKind), count_classes)
    counts = sorted({count_classes(record) for record in chosen})

    def point(cell: Sequence[Record]) -> Point:
        return float(counts.index(count_classes(cell[0]))), mean_drop(cell)

    across = "user classes, and accuracy of the dense network"
    note = level_text(level) if level else ""
    return len(counts) > 1 and draw_lines(chosen, path, point, across, DROP, cell_of=count_classes, note=note, axis=Axis.COUNTS)


def count_classes(record: Record) -> int:
    """Return the number of user classes of a record."""
    return len(record["classes"])


def draw_blocks(records: Sequence[Record], path: Path) -> bool:
    """Draw how much methods keep of every layer, a heat map a network, at the level that most have; tell whether there is any."""
    usable = [record for record in of_level(records, *LevelKind) if record["layers"]]
    chosen, level = at_common_level(usable, lambda record: record["method"])
    networks = by(chosen, lambda record: record["network"])
    if not networks:
        return False
    import matplotlib.pyplot as plt

    heights = [len(methods_of(cell)) for cell in networks.values()]
    figure, panels = plt.subplots(
        len(networks),
        1,
        figsize=(12, 0.34 * sum(heights) + 1.9 * len(networks)),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    image = None
    for axes, (network, cell) in zip(panels[:, 0], networks.items(), strict=True):
        looks = styles(cell)
        names = [layer["name"] for layer in cell[0]["layers"]]
        rows = [densities([record for record in cell if record["method"] == method], names) for method in looks]
        image = axes.imshow(100 * np.array(rows), aspect="auto", cmap="viridis", norm="log", vmin=2, vmax=100)
        axes.set_yticks(range(len(looks)), [look.label for look in looks.values()])
        axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 12 else 30, fontsize=7)
        axes.set_title(f"{network}, {level_text(level)}", fontsize=10, loc="left")
        if len(names) <= 24:
            label_cells(axes, rows)
    if image is not None:
        bar = figure.colorbar(image, ax=panels[:, 0], shrink=min(1, 3 / len(networks)), aspect=25, pad=0.01, ticks=[2, 5, 10, 20, 50, 100])
        bar.set_label("weights that the pattern leaves room for, %")
        bar.ax.set_yticklabels(["2", "5", "10", "20", "50", "100"])
    save_figure(figure, path)
    return True


def label_cells(axes: "Axes", rows: Sequence[np.ndarray]) -> None:
    """Write its number into every field of a heat map."""
    for place, row in enumerate(rows):
        for column, density in enumerate(row):
            if np.isfinite(density):
                colour = "black" if density > 0.3 else "white"
                axes.text(column, place, f"{100 * density:.0f}", ha="center", va="center", fontsize=7, color=colour)


def densities(records: Iterable[Record], names: Sequence[str]) -> np.ndarray:
    """Return the mean density of each layer."""
    tables = [{layer["name"]: layer["density"] for layer in record["layers"]} for record in records]
    return np.array([np.mean([table.get(name, np.nan) for table in tables]) for name in names])


def draw_lines(
    records: Sequence[Record],
    path: Path,
    point: Callable[[Sequence[Record]], Point],
    across: str,
    up: str,
    *,
    cell_of: Callable[[Record], Any] = lambda record: (record["level"]["kind"], record["level"]["value"]),
    limit: float | None = SHOWN_DROP,
    note: str = "",
    axis: Axis = Axis.NUMBERS,
) -> bool:
    """Draw a line for each method, a panel for each network.

    Parameters
    ----------
    records : sequence of mapping
        Records that have a level.
    path : Path
        PNG file to write.
    point : callable
        Place and value of the records of one method and one level.
    across, up : str
        What the axes are called.
    cell_of : callable
        What the records of a point have in common.
    limit : float, optional
        Largest value that is shown.
    note : str
        Behind the name of each network.
    axis : Axis
        What is drawn across.
    """
    networks = by(records, lambda record: record["network"])
    if not networks:
        return False
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    looks = styles(records)
    figure, panels = plt.subplots(1, len(networks), figsize=(max(6.2, 1.4 + 4.1 * len(networks)), 4.4), layout="constrained", squeeze=False)
    for axes, (network, cell) in zip(panels[0], networks.items(), strict=True):
        step = spread(cell, point, cell_of) / 90 if axis is Axis.COUNTS else 0.0
        shift = step * (np.arange(len(looks)) - (len(looks) - 1) / 2)
        for (method, look), offset in zip(looks.items(), shift, strict=True):
            line = sorted(points([record for record in cell if record["method"] == method], point, cell_of), key=lambda pair: pair[0])
            if line:
                draw_line(axes, line, look, offset, bold=method == OURS)
        axes.set_title(f"{network}{f', {note}' if note else ''}", fontsize=10)
        axes.set_xlabel(across)
        if limit is not None:
            axes.axhline(0, color="black", linewidth=0.8)
            low, high = axes.get_ylim()
            axes.set_ylim(min(limit, high), max(low, -2.0))  # dense above: up is better
        if axis is Axis.COUNTS:
            mark_counts(axes, by(cell, cell_of), point)
        if axis is Axis.SPARSITY:
            scale_sparsity(axes)
    panels[0][0].set_ylabel(up)
    finish(panels[0])
    handles, labels = merged_legend(panels[0])
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3 if len(networks) == 1 else 5, len(labels)), frameon=False)
    save_figure(figure, path)
    return True


def draw_line(axes: "Axes", line: Sequence[Point], look: Style, offset: float, *, bold: bool) -> None:
    """Draw the points of one method, moved aside so that bars at one place do not hide each other."""
    places = [place + offset for place, _ in line]
    means = [interval.mean for _, interval in line]
    bars = [interval.half if np.isfinite(interval.half) else 0.0 for _, interval in line]
    axes.errorbar(
        places,
        means,
        yerr=bars,
        color=look.colour,
        marker=look.mark,
        linestyle=look.dash,
        linewidth=look.width,
        markersize=7 if bold else 6,
        markeredgewidth=1.4,
        elinewidth=1,
        capsize=2.5,
        zorder=4 if bold else 3,
        label=look.label,
    )


def mark_counts(axes: "Axes", cells: Mapping[int, Sequence[Record]], place: Callable[[Sequence[Record]], Point]) -> None:
    """Mark the numbers that there are on an axis, with the dense network's accuracy at each."""
    texts = [f"{count}\n{100 * np.mean([record['top1_dense'] for record in cell]):.1f}%" for count, cell in cells.items()]
    axes.set_xticks([place(cell)[0] for cell in cells.values()], texts, fontsize=8)


def scale_sparsity(axes: "Axes") -> None:
    """Scale an axis of percent by the logarithm of what is left."""
    low, high = axes.dataLim.intervalx

    def forward(sparsity: np.ndarray) -> np.ndarray:
        return -np.log(np.maximum(100 - sparsity, 1e-3))

    axes.set_xscale("function", functions=(forward, lambda value: 100 - np.exp(-value)))
    axes.set_xlim(max(0.0, 100 - 1.08 * (100 - low)), 100 - (100 - high) / 1.08)
    axes.set_xticks([value for value in SPARSITIES if low - 0.5 <= value <= high + 0.5])
    axes.minorticks_off()


def merged_legend(panels: Iterable["Axes"]) -> tuple[list[Any], list[str]]:
    """Return the entries of all panels' legends, each once."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def points(records: Sequence[Record], point: Callable[[Sequence[Record]], Point], cell_of: Callable[[Record], Any]) -> Iterator[Point]:
    """Yield a point for each cell."""
    for cell in by(records, cell_of).values():
        yield point(cell)


def spread(records: Sequence[Record], point: Callable[[Sequence[Record]], Point], cell_of: Callable[[Record], Any]) -> float:
    """Return how far points reach along the axis."""
    places = [place for cell in by(records, lambda record: record["method"]).values() for place, _ in points(cell, point, cell_of)]
    return max(places) - min(places) if places else 0.0


def mean_drop(records: Iterable[Record]) -> Interval:
    """Return the mean drop of records."""
    return seed_interval(drops(records))


def of_level(records: Iterable[Record], *kinds: LevelKind) -> list[Record]:
    """Return the records with an accuracy whose level is of one of the kinds."""
    return of_kind(reached(records), *kinds)


def at_common_level(records: Sequence[Record], what: Callable[[Record], Any]) -> tuple[list[Record], Mapping[str, Any]]:
    """Return the records of the level with most different ``what``, of several the one nearest to `SHOWN_LEVEL`, and that level."""
    levels = by(records, lambda record: (record["level"]["kind"], record["level"]["value"]))
    if not levels:
        return [], {}
    count = {level: len({(record["network"], what(record)) for record in found}) for level, found in levels.items()}
    best = max(levels, key=lambda level: (count[level], -abs(level[1] - SHOWN_LEVEL)))
    return levels[best], {"kind": best[0], "value": best[1]}


def level_text(level: Mapping[str, Any]) -> str:
    """Return a level in words."""
    if level["kind"] == LevelKind.SPARSITY.value:
        return f"{level['value']:.0%} sparse"
    if level["kind"] == LevelKind.CYCLES.value:
        return f"{level['value']:.0%} of the cycles"
    return f"cycles of uniform {level['value']:.0%}"
