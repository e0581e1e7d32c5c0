"""Performance counters: one declaration for the gateware, the driver and the documentation."""

from .fields import Field, Word

__all__ = ["COUNTERS", "IDLE_CAUSES"]

COUNTERS = Word(
    "counters",
    320,
    (
        Field("total", 32, "Cycles from the one after the command is taken to the one in which the last result leaves."),
        Field("active", 32, "Cycles in which a step was issued: the array is at work."),
        Field("idle_weights", 32, "Cycles without a kept block at hand; 6 to begin with, until the first has been fetched."),
        Field("idle_windows", 32, "Cycles in which a step waited for its word of the pixel tile's window."),
        Field("idle_drain", 32, "Cycles in which a tile's last step waited for the tile before to leave the array."),
        Field("idle_output", 32, "Cycles in which a tile's last step waited for room in the output."),
        Field("idle_tail", 32, "Cycles after the last step, until its results have left."),
        Field("blocks_walked", 32, "Kept blocks, counted again for every row tile and pixel tile that uses them."),
        Field("blocks_skipped", 32, "Absent blocks, counted likewise: each cost no cycle."),
        Field("windows", 32, "Pixel tiles whose steps are all issued."),
    ),
    "Counters of the last layer. They restart with every command.",
)

#: The fields that add up to ``total``, ``active`` first.
IDLE_CAUSES = tuple(field.name for field in COUNTERS.fields if field.name.startswith("idle_"))
