"""Performance counters: one declaration for the gateware, the driver and the documentation."""

from .fields import Field, Word

__all__ = ["COUNTERS", "IDLE_CAUSES"]

COUNTERS = Word(
    "counters",
    320,
    (
        Field("total", 32, "Cycles of the command: from the first in which it is the oldest with steps to issue."),
        Field("active", 32, "Cycles in which a step was issued: the array is at work."),
        Field("idle_weights", 32, "Cycles without a kept block at hand, as until the first has been fetched where no command was before."),
        Field("idle_windows", 32, "Cycles in which a step waited for its word of the pixel tile's window."),
        Field("idle_drain", 32, "Cycles in which a tile's last step waited for the tile before to leave the array."),
        Field("idle_output", 32, "Cycles in which a tile's last step waited for room in the output."),
        Field("idle_tail", 32, "Cycles after the last step until its results have left, or until there is another command."),
        Field("blocks_walked", 32, "Kept blocks, counted again for every row tile and pixel tile that uses them."),
        Field("blocks_skipped", 32, "Absent blocks, counted likewise: each cost no cycle."),
        Field("windows", 32, "Windows that were used: pixel tiles, or parts of them where row tiles have windows of their own."),
    ),
    "Counters of one command. With several clusters the cycles and windows are those of cluster 0, and the blocks those of all.",
)

#: The fields that add up to ``total``, ``active`` first.
IDLE_CAUSES = tuple(field.name for field in COUNTERS.fields if field.name.startswith("idle_"))
