"""The whole machine, command by command: what a program leaves in memory. The hardware is ``crisp_hw/accelerator.py``.

Commands are carried out one after the other in the order of the program. The hardware overlaps them, but a program whose waits are
right leaves the same bytes.
"""

from collections.abc import Callable, Mapping

import numpy as np

from ..arch import CHANNEL, COUNT, ENTRY, Config, ExecuteKind, FieldError, MemoryWindow, Opcode, Sharing
from ..arch.program import Program
from .clusters import Share, shares
from .gather import gather_windows
from .load_unit import load
from .on_chip import Cluster, OnChip, fields_of
from .requantize import requantize
from .store_unit import store
from .vector_unit import output_shape, write_results

__all__ = ["Machine", "read_row_tiles", "run_program"]


def read_row_tiles(command: Mapping[str, int], cluster: Cluster, config: Config) -> np.ndarray:
    """Read a cluster's weights of an EXECUTE from counts, entries and steps.

    Parameters
    ----------
    command : mapping
        Fields of the word `EXECUTE`, with the row tiles that are the cluster's.
    cluster : Cluster
        Its buffers.
    config : Config
        The machine.

    Returns
    -------
    numpy.ndarray
        ``int16`` of shape (row tiles, rows, words of a window, M).

    Raises
    ------
    FieldError
        When counts, entries and command contradict each other.
    """
    matrices = np.zeros((command["row_tiles"], config.rows, command["window_words"], config.group_size), np.int16)
    rows = np.arange(config.rows)
    step, row = command["step_base"], 0
    entry = command["entry_base"]
    counts, entries = fields_of(COUNT, cluster.counts)["blocks"], fields_of(ENTRY, cluster.entries)
    block = 1 << command["block_groups_log2"]
    for tile in range(command["row_tiles"]):
        if tile and tile % command["block_tiles"] == 0:
            entry += int(counts[command["count_base"] + row])
            row += 1
        kept = slice(entry, entry + int(counts[command["count_base"] + row]))
        index, n = entries["index"][kept], entries["n_minus_1"][kept] + 1
        if not len(index) or (np.diff(index) <= 0).any() or index[-1] >= command["block_columns"] or n.max() > config.group_size:
            raise FieldError(f"row tile {tile}: block indices must ascend below {command['block_columns']}, not {index.tolist()}")
        groups = np.where(index == command["block_columns"] - 1, command["tail_groups"], block)
        # The group of the window that each step meets: those of each block in turn, each N times.
        first = np.repeat(index * block, groups)
        within = np.arange(groups.sum()) - np.repeat(np.cumsum(groups) - groups, groups)
        group = np.repeat(first + within, np.repeat(n, groups))
        steps = slice(step, step + len(group))
        # Several steps may meet one activation: those that hold no weight have value 0 and any offset.
        np.add.at(matrices[tile], (rows, group[:, None], cluster.offsets[steps]), cluster.values[steps])
        step += len(group)
    return matrices


class Machine:
    """The machine's buffers, and the memory that it sees.

    Parameters
    ----------
    on_chip : OnChip
        The buffers.
    memory : mapping
        ``uint8`` bytes of each memory window.
    """

    def __init__(self, on_chip: OnChip, memory: Mapping[MemoryWindow, np.ndarray]):
        self.on_chip = on_chip
        self.memory = memory
        # Sums of each cluster's lanes that go on in its next command.
        config = on_chip.config
        self.sums = np.zeros((config.clusters, config.rows, config.columns), np.int64)

    def step(self, opcode: Opcode, command: Mapping[str, int]) -> None:
        """Carry out a command."""
        if opcode is Opcode.LOAD:
            load(command, self.memory[MemoryWindow(command["window"])], self.on_chip)
        elif opcode is Opcode.STORE:
            store(command, self.memory[MemoryWindow(command["window"])], self.on_chip)
        elif opcode is Opcode.EXECUTE:
            self.execute(command)

    def execute(self, command: Mapping[str, int]) -> None:
        """Carry out an EXECUTE."""
        config, on_chip = self.on_chip.config, self.on_chip
        row_tiles, words = output_shape(command, config)
        results = np.zeros((row_tiles, words, command["pixels"], config.group_size), np.int8)
        if command["kind"] == ExecuteKind.MAX:
            for part in range(row_tiles):
                results[part, 0] = gather_windows(command, on_chip.runs, on_chip.activations, part).max(axis=0)
            write_results(command, results, on_chip.activations, on_chip.table, config)
            return
        for share in shares(command, config):
            total = self.multiply_share(command, share)
            # Sums that were left open go on in the first tile.
            lanes = self.sums[share.cluster, :, : total.shape[2]]
            total[0, :, : lanes.shape[1]] += lanes
            self.sums[share.cluster] = 0
            if command["open"]:
                self.sums[share.cluster] = total[0]
                continue
            tiles = len(total)
            words_of = on_chip.clusters[share.cluster].channels[command["channel_base"] :][: tiles * config.rows]
            channels = fields_of(CHANNEL, words_of)
            bias, multiplier, shift = (channels[name].reshape(tiles, config.rows, 1) for name in ("bias", "multiplier", "shift"))
            limits = (command["zero_point"], command["clamp_min"], command["clamp_max"])
            values = requantize(total, bias, multiplier, shift, *limits)
            # Rows of a tile are words of M channels.
            own = slice(1) if command["sharing"] == Sharing.SPLIT else slice(share.row_tiles.start, None, share.row_tiles.step)
            results[own, :, share.pixels] = values.reshape(tiles, words, config.group_size, -1).transpose(0, 1, 3, 2)
        if not command["open"]:
            write_results(command, results, on_chip.activations, on_chip.table, config)

    def multiply_share(self, command: Mapping[str, int], share: Share) -> np.ndarray:
        """Return a cluster's sums, ``int64`` [row tiles, rows, pixels]: of an open command those of all lanes, else of its pixels."""
        config, on_chip = self.on_chip.config, self.on_chip
        matrices = read_row_tiles({**command, "row_tiles": len(share.row_tiles)}, on_chip.clusters[share.cluster], config)

        def window(part: int) -> np.ndarray:
            gathered = gather_windows(command, on_chip.runs, on_chip.activations, part)[:, share.pixels]
            beyond = config.columns - gathered.shape[1] if command["open"] else 0
            return np.pad(gathered, ((0, 0), (0, beyond), (0, 0)), constant_values=command["pad"])

        if command["sharing"] == Sharing.SHARED:
            return self.multiply(matrices.reshape(-1, *matrices.shape[2:]), window(0)).reshape(*matrices.shape[:2], -1)
        parts = zip(matrices, map(window, share.row_tiles), strict=True)
        sums = np.stack([self.multiply(matrix, gathered) for matrix, gathered in parts])
        return sums.sum(axis=0, keepdims=True) if command["sharing"] == Sharing.SPLIT else sums

    @staticmethod
    def multiply(matrix: np.ndarray, window: np.ndarray) -> np.ndarray:
        """Return ``int64`` sums [rows, pixels] of weights [rows, words, M] and a window [words, pixels, M]; exact."""
        operand = window.transpose(0, 2, 1).reshape(-1, window.shape[1])
        # Products are below 2^14: float32 holds sums of up to 2^10 of them, float64 all that fit int32.
        exact = np.float32 if matrix[0].size <= 1 << 10 else np.float64
        return (matrix.reshape(len(matrix), -1).astype(exact) @ operand.astype(exact)).astype(np.int64)


def run_program(
    program: Program, inputs: Mapping[str, np.ndarray], *, progress: Callable[[int, int], None] | None = None
) -> dict[str, np.ndarray]:
    """Run a program.

    Parameters
    ----------
    program : Program
        The program.
    inputs : mapping
        ``int8`` [N, H, W, C] of every input.
    progress : callable, optional
        Called with the number of commands done, and of all.

    Returns
    -------
    dict
        ``int8`` [N, H, W, C] of every output.
    """
    sizes = program.window_bytes
    memory = {
        MemoryWindow.PROGRAM: program.program_window(),
        MemoryWindow.SCRATCH: np.zeros(sizes[MemoryWindow.SCRATCH], np.uint8),
        MemoryWindow.INPUT: program.input_window(inputs),
        MemoryWindow.OUTPUT: np.zeros(sizes[MemoryWindow.OUTPUT], np.uint8),
    }
    machine = Machine(OnChip.cleared(program.config), memory)
    commands = program.decode()
    for index, command in enumerate(commands):
        machine.step(command.opcode, command.unpack())
        if progress is not None:
            progress(index + 1, len(commands))
    return program.read_outputs(memory[MemoryWindow.OUTPUT])
