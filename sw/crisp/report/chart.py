"""Pictures of what was measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .picture import save_figure
from .records import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_layers", "draw_networks"]

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
    left.invert_yaxis()
    save(figure, (left, right), path)


def draw_networks(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw utilization and speed-up of whole networks, a bar a pattern, beside what skipping alone could give.

    Parameters
    ----------
    records : sequence of mapping
        Records of `crisp.bench.network_records`, sorted.
    path : Path
        PNG file to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [f"{network_text(record)}, {record['config']}, {pattern_text(record)}" for record in records]
    colours = [DENSE if record["asked_density"] == 1 else SPARSE for record in records]
    # A gap between networks.
    places: list[float] = []
    for number, record in enumerate(records):
        kinds = [tuple(entry[name] for name in ("network", "config", "batch")) for entry in (records[number - 1], record)]
        is_new = number > 0 and kinds[0] != kinds[1]
        places.append(places[-1] + (1.6 if is_new else 1.0) if places else 0.0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 0.3 * (places[-1] + 1) + 1.6), sharey=True, layout="constrained")

    left.barh(places, [record["utilization"] for record in records], 0.8, color=colours)
    left.set_yticks(places, names)
    left.set_xlim(0, 1)
    left.set_xlabel("utilization: kept MACs / (multipliers x cycles), memory included")

    shown = [(place, record) for place, record in zip(places, records, strict=True) if record["speedup_over_dense"] is not None]
    right.barh([place for place, _ in shown], [record["speedup_over_dense"] for _, record in shown], 0.8, color=SPARSE, label="speed-up")
    limits = [record["dense_macs"] / record["kept_macs"] for _, record in shown]
    right.scatter(limits, [place for place, _ in shown], marker="|", s=160, linewidths=2, color=LIMIT, label="dense / kept MACs", zorder=3)
    right.set_xlabel("speed-up over the dense network on the same machine")
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=2)

    left.invert_yaxis()
    save(figure, (left, right), path)


def network_text(record: Mapping[str, Any]) -> str:
    """Return the name of a record's network, and how many images the program computes if not one."""
    return record["network"] if record["batch"] == 1 else f"{record['network']}, {record['batch']} images"


def pattern_text(record: Mapping[str, Any]) -> str:
    """Return the pattern of a network's record in a few characters."""
    return "dense" if record["asked_density"] == 1 else f"{record['pattern']} at {record['density']:.1%}"


def save(figure: "Figure", axes: "Sequence[Axes]", path: Path) -> None:
    """Finish a figure of bars and write it."""
    for part in axes:
        part.margins(y=0.01)
        part.grid(axis="x", alpha=0.3)
        part.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
