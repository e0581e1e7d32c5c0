"""The part of docs/pruning-results.md that says how fast pruning is, of results/pruning_speed.json."""

from collections.abc import Mapping
from typing import Any

from crisp.report import markdown_table

__all__ = ["pruning_speed_markdown"]


def pruning_speed_markdown(record: Mapping[str, Any]) -> str:
    """Return the section.

    Parameters
    ----------
    record : mapping
        As `crisp.bench.pruning_speed.measure_pruning` gives it, with where it came from.
    """
    masks = [
        (mask["network"], mask["pattern"], f"{mask['weights']:,}", f"{mask['seconds']:.2f}", f"{mask['memory_over_weights']:.1f}")
        for mask in record["masks"]
    ]
    training = [
        (
            each["network"] + ("" if each["width"] == 1 else f" x{each['width']:g}"),
            f"{each['images_per_second']:,}",
            f"{each['images_per_second'] / each['bare_images_per_second']:.0%}",
            f"{each['saliency_seconds']:.2f}",
            f"{each['selection_seconds']:.2f}",
            *(f"{share:.0%}" for share in each["shares"].values()),
        )
        for each in record["training"]
    ]
    first, machine = record["training"][0], record["machine"]
    headings = ("network", "images a second", "of bare", "saliency", "masks", *first["shares"])
    return "\n\n".join(
        (
            "## How fast pruning is",
            f"By `{record['command']}` at {record['commit']}, one thread of a {machine['processor']} with {machine['cores']} cores, "
            f"torch {machine['torch']}, without the tunables of [pruning.md](pruning.md#interrupted-runs-and-many-processes).",
            "All masks of a network at its full size, from scores to masks at 90% sparsity; memory is the peak, weights and scores "
            "included, as a multiple of the weights:",
            markdown_table(("network", "pattern", "weights", "seconds", "memory"), masks),
            f"Training behind masks, with a teacher, batches of {first['batch']} images of 28 x 28 pixels, float32: images a second, and "
            "the share of what bare forward and backward passes reach; seconds that an iteration takes for saliency and for the choice of "
            "masks; then where the time of a step goes:",
            markdown_table(headings, training),
        )
    )
