"""Data check: what is wrong with the data that an EXECUTE works on. The hardware finds it in ``block_walker``, ``engine`` and ``gather``.

The hardware looks at data as it uses them, and tells what it finds first. Which that is depends on the cycles that other commands and
memory take, so here is everything that it may find.
"""

from collections.abc import Mapping

from ..arch import COUNT, ENTRY, RUN, Config, ErrorCode, ExecuteKind, Sharing
from .clusters import shares
from .on_chip import Cluster, OnChip, fields_of
from .pixel_walk import pixel_positions

__all__ = ["data_faults", "list_faults", "run_faults"]

#: Blocks that the hardware may list ahead of a step that is wrong.
BLOCKS_AHEAD = 16


def data_faults(command: Mapping[str, int], on_chip: OnChip) -> set[ErrorCode]:
    """Return what may be told of an EXECUTE that is right by itself; nothing when its data are right too.

    Parameters
    ----------
    command : mapping
        Fields of the word `EXECUTE`.
    on_chip : OnChip
        The buffers before the command.
    """
    faults = run_faults(command, on_chip)
    if command["kind"] == ExecuteKind.PRODUCT:
        for share in shares(command, on_chip.config):
            own = {**command, "row_tiles": len(share.row_tiles)}
            faults |= list_faults(own, on_chip.clusters[share.cluster], on_chip.config)
    return faults


def list_faults(command: Mapping[str, int], cluster: Cluster, config: Config) -> set[ErrorCode]:
    """Return what is wrong with a cluster's kept blocks and steps: counts, entries, and where they lie."""
    faults: set[ErrorCode] = set()
    counts, entries = fields_of(COUNT, cluster.counts), fields_of(ENTRY, cluster.entries)
    step, first, ahead = command["step_base"], command["entry_base"], 0
    for tile in range(command["row_tiles"]):
        row, place = divmod(tile, command["block_tiles"])
        if command["count_base"] + row >= config.block_row_buffer_depth:
            return faults | {ErrorCode.METADATA_RANGE}
        blocks = int(counts["blocks"][command["count_base"] + row])
        if not 1 <= blocks <= command["block_columns"]:
            return faults | {ErrorCode.METADATA_COUNT}
        if place == 0 and tile:
            first += int(counts["blocks"][command["count_base"] + row - 1])
        least = 0
        for number in range(first, first + blocks):
            if number >= config.entry_buffer_depth:
                return faults | {ErrorCode.METADATA_RANGE}
            index, n = int(entries["index"][number]), int(entries["n_minus_1"][number]) + 1
            wrong = set()
            if not least <= index < command["block_columns"]:
                wrong.add(ErrorCode.METADATA_INDEX)
            if n > config.group_size:
                wrong.add(ErrorCode.METADATA_N)
            if wrong:
                return faults | wrong
            least = index + 1
            step += n * (command["tail_groups"] if least == command["block_columns"] else 1 << command["block_groups_log2"])
            if step > config.weight_buffer_depth:
                faults.add(ErrorCode.METADATA_RANGE)
                ahead += 1
                if ahead > BLOCKS_AHEAD:
                    return faults
    return faults


def run_faults(command: Mapping[str, int], on_chip: OnChip) -> set[ErrorCode]:
    """Return what is wrong with runs, and with the addresses that they lead to."""
    faults: set[ErrorCode] = set()
    runs = fields_of(RUN, on_chip.runs)
    y, x, q = pixel_positions(command)
    words_due = command["window_words"] if command["kind"] == ExecuteKind.PRODUCT else None
    number = command["run_base"]
    for part in range(1 if command["sharing"] == Sharing.SHARED else command["row_tiles"]):
        if command["sharing"] == Sharing.GROUPED:
            number = command["run_base"]
        base = command["input_base"] + (part * command["part_stride"] if command["sharing"] == Sharing.GROUPED else 0)
        words, ends = 0, False
        while not ends:
            if number >= on_chip.config.run_buffer_depth:
                return faults | {ErrorCode.RUN_RANGE}
            run = {name: int(values[number]) for name, values in runs.items()}
            number, ends, more = number + 1, bool(run["last"]), run["words_minus_1"] + 1
            words += more
            # A window that is too long ends where the words that are due do.
            used = more if words_due is None else min(more, more - words + words_due)
            row, column = y + run["dy"], x + run["dx"]
            inside = (row >= 0) & (row < command["input_height"]) & (column >= 0) & (column < command["input_width"])
            place = (q[inside] + run["pixels"]) % command["input_ring"]
            last = base + run["plane"] + (used - 1) * command["input_pitch"]
            if place.size and last + int(place.max()) >= on_chip.config.activation_words:
                faults.add(ErrorCode.ACTIVATION_RANGE)
            is_wrong = words_due is not None and (words > words_due or ends != (words == words_due))
            if is_wrong or abs(run["pixels"]) > command["input_ring"]:
                return faults | {ErrorCode.RUN_RANGE}
    return faults
