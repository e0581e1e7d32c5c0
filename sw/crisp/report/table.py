"""Tables of a comparison: for the terminal, and in Markdown for the README."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from .records import Comparison

__all__ = ["accuracy_table", "layer_table", "markdown_table"]

HEADINGS = (
    "layer",
    "O x K x P",
    "density",
    "blocks kept",
    "cycles dense",
    "cycles sparse",
    "speed-up",
    "1/density",
    "utilization",
    "bits equal",
)


def rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return a row of text for every layer, and one for all of them."""
    lines = [
        (
            layer.name,
            f"{layer.outputs} x {layer.inputs} x {layer.pixels}",
            f"{layer.density:.1%}" if layer.macs else "",
            f"{layer.blocks_kept} of {layer.blocks}" if layer.blocks else "",
            f"{layer.cycles_dense:,}",
            f"{layer.cycles_sparse:,}",
            f"{layer.speedup:.2f}",
            f"{1 / layer.density:.2f}" if layer.macs else "",
            f"{layer.utilization(comparison.array_macs):.1%}" if layer.macs else "",
            "yes" if layer.bits_equal else "NO",
        )
        for layer in comparison.layers
    ]
    kept, blocks = sum(layer.blocks_kept for layer in comparison.layers), sum(layer.blocks for layer in comparison.layers)
    total = (
        "whole network",
        "",
        f"{comparison.density:.1%}",
        f"{kept} of {blocks}",
        f"{comparison.cycles_dense:,}",
        f"{comparison.cycles_sparse:,}",
        f"{comparison.speedup:.2f}",
        f"{1 / comparison.density:.2f}",
        f"{comparison.utilization:.1%}",
        "yes" if comparison.bits_equal else "NO",
    )
    return [*lines, total]


def layer_table(comparison: Comparison, title: str) -> Table:
    """Return a table of all layers for the terminal."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, heading in enumerate(HEADINGS):
        if number < 2:
            table.add_column(heading, vertical="bottom", no_wrap=True)
        else:
            table.add_column(heading.replace(" ", "\n"), justify="right", vertical="bottom", no_wrap=True)
    *lines, total = rows(comparison)
    for line in lines:
        table.add_row(*line, style=None if line[-1] == "yes" else "bold red")
    table.add_section()
    table.add_row(*total, style="bold" if comparison.bits_equal else "bold red")
    return table


def accuracy_table(accuracies: dict[str, float], images: int) -> Table:
    """Return a table of the share of test images that each network names rightly."""
    table = Table(title=f"Accuracy on {images:,} test images of the user's classes", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("network", min_width=40)
    table.add_column("top-1", justify="right")
    for name, value in accuracies.items():
        table.add_row(name.replace("_", " "), f"{value:.2%}")
    return table


def markdown_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; columns after the second are aligned to the right."""
    rule = ["---" if number < 2 else "---:" for number in range(len(headings))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rule, *lines))


def layer_markdown(comparison: Comparison) -> str:
    """Return the table of all layers in Markdown."""
    return markdown_table(HEADINGS, rows(comparison))
