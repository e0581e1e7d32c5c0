"""The command stream: commands in an order that is right when each waits for the one before, and the waits that let them overlap.

What a command must wait for is not reasoned out but looked up: for every word of every buffer the stream remembers which commands last
wrote and read it. So whatever the scheduler plans, no command can overtake another that it depends on.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from crisp.arch import END, EXECUTE, LOAD, STORE, Config, LoadTarget, Opcode

__all__ = ["CommandStream", "Emitted", "Touch"]

#: Buffer that each target of a LOAD writes.
BUFFERS = {
    LoadTarget.STEPS: "steps",
    LoadTarget.DENSE_STEPS: "steps",
    LoadTarget.COUNTS: "counts",
    LoadTarget.ENTRIES: "entries",
    LoadTarget.CHANNELS: "channels",
    LoadTarget.RUNS: "runs",
    LoadTarget.TABLE: "table",
    LoadTarget.ACTIVATIONS: "activations",
    LoadTarget.PATCHES: "activations",
}


@dataclasses.dataclass(frozen=True)
class Touch:
    """Words of a buffer that a command reads or writes.

    Parameters
    ----------
    buffer : str
        Name of the buffer.
    places : slice or numpy.ndarray
        Which words.
    """

    buffer: str
    places: slice | np.ndarray


@dataclasses.dataclass(frozen=True)
class Emitted:
    """A command of the stream.

    Parameters
    ----------
    opcode : Opcode
        Kind of command.
    fields : dict
        Values of its word's fields.
    label : str
        Layer that it belongs to, for messages and reports.
    cycles : int
        Predicted cycles of work, without waiting.
    fill : int
        Of an EXECUTE, predicted cycles in which the array waits for the first window where that is not gathered ahead.
    """

    opcode: Opcode
    fields: dict[str, int]
    label: str
    cycles: int = 0
    fill: int = 0


@dataclasses.dataclass
class History:
    """Which commands last wrote and read each word of a buffer: counts of LOADs, EXECUTEs and STOREs, 0 for none."""

    loaded: np.ndarray
    computed: np.ndarray
    gathered: np.ndarray
    stored: np.ndarray

    @classmethod
    def blank(cls, depth: int) -> "History":
        """Return the history of a buffer that nothing has touched."""
        return cls(*(np.zeros(depth, np.int32) for _ in range(4)))


def latest(history: np.ndarray, places: slice | np.ndarray) -> int:
    """Return the latest of the commands that touched any of ``places``."""
    return int(history[places].max(initial=0))


class CommandStream:
    """Collects commands and gives each the waits it needs.

    Parameters
    ----------
    config : Config
        Sizes of the buffers.
    scratch_words : int
        Words of M bytes of the memory window SCRATCH.
    """

    words: ClassVar = {Opcode.LOAD: LOAD, Opcode.STORE: STORE, Opcode.EXECUTE: EXECUTE, Opcode.END: END}

    def __init__(self, config: Config, scratch_words: int):
        depths = {
            "steps": config.weight_buffer_depth,
            "counts": config.block_row_buffer_depth,
            "entries": config.entry_buffer_depth,
            "channels": config.channel_buffer_depth,
            "runs": config.run_buffer_depth,
            "table": 1,
            "activations": config.activation_words,
            "scratch": scratch_words,
        }
        self.history = {name: History.blank(depth) for name, depth in depths.items()}
        self.counts = {Opcode.LOAD: 0, Opcode.STORE: 0, Opcode.EXECUTE: 0}
        self.commands: list[Emitted] = []

    def emit(self, opcode: Opcode, label: str, waits: dict[str, int], cycles: int, fields: dict[str, int], fill: int = 0) -> None:
        """Append a command; waits are counts of commands since the beginning."""
        limits = {"wait_load": Opcode.LOAD, "wait_execute": Opcode.EXECUTE, "wait_store": Opcode.STORE}
        counted = {name: waits.get(name, 0) % (1 << 16) for name in limits}
        # A wait for what lies very far back would look like one for the future: what is that old is complete by the queue's order.
        for name, queue in limits.items():
            if self.counts[queue] - waits.get(name, 0) >= 1 << 14:
                counted[name] = (self.counts[queue] - (1 << 14)) % (1 << 16)
        word = self.words[opcode]
        values = {field.name: 0 for field in word.fields}
        values.update(fields, opcode=int(opcode), **counted)
        self.commands.append(Emitted(opcode, values, label, cycles, fill))
        if opcode in self.counts:
            self.counts[opcode] += 1

    def load(self, label: str, target: LoadTarget, writes: Touch, *, reads: Touch | None = None, cycles: int = 0, **fields: int) -> int:
        """Append a LOAD that writes ``writes``, and reads ``reads`` of SCRATCH; return how many LOADs there are with it."""
        history = self.history[writes.buffer]
        waits = {
            "wait_execute": max(latest(history.gathered, writes.places), latest(history.computed, writes.places)),
            "wait_store": latest(history.stored, writes.places),
        }
        if reads is not None:
            waits["wait_store"] = max(waits["wait_store"], latest(self.history[reads.buffer].stored, reads.places))
        self.emit(Opcode.LOAD, label, waits, cycles, {"target": int(target), **fields})
        count = self.counts[Opcode.LOAD]
        history.loaded[writes.places] = count
        if reads is not None:
            self.history[reads.buffer].loaded[reads.places] = count
        return count

    def execute(self, label: str, reads: list[Touch], writes: Touch, *, cycles: int = 0, fill: int = 0, **fields: int) -> int:
        """Append an EXECUTE; return how many there are with it.

        Gathers and writes of EXECUTEs are in order among themselves, so one waits for an earlier one only where it reads its results.
        """
        waits = {"wait_load": 0, "wait_execute": 0}
        for touch in reads:
            history = self.history[touch.buffer]
            waits["wait_load"] = max(waits["wait_load"], latest(history.loaded, touch.places))
            waits["wait_execute"] = max(waits["wait_execute"], latest(history.computed, touch.places))
        target = self.history[writes.buffer]
        waits["wait_load"] = max(waits["wait_load"], latest(target.loaded, writes.places))
        waits["wait_store"] = latest(target.stored, writes.places)
        self.emit(Opcode.EXECUTE, label, waits, cycles, fields, fill)
        count = self.counts[Opcode.EXECUTE]
        for touch in reads:
            self.history[touch.buffer].gathered[touch.places] = count
        target.computed[writes.places] = count
        return count

    def store(self, label: str, reads: Touch, *, writes: Touch | None = None, cycles: int = 0, **fields: int) -> int:
        """Append a STORE that reads ``reads``, and writes ``writes`` of SCRATCH; return how many STOREs there are with it."""
        history = self.history[reads.buffer]
        waits = {"wait_execute": latest(history.computed, reads.places), "wait_load": latest(history.loaded, reads.places)}
        if writes is not None:
            waits["wait_load"] = max(waits["wait_load"], latest(self.history[writes.buffer].loaded, writes.places))
        self.emit(Opcode.STORE, label, waits, cycles, fields)
        count = self.counts[Opcode.STORE]
        history.stored[reads.places] = count
        if writes is not None:
            self.history[writes.buffer].stored[writes.places] = count
        return count

    def end(self) -> None:
        """Append the END, which waits for all."""
        waits = {"wait_load": self.counts[Opcode.LOAD], "wait_execute": self.counts[Opcode.EXECUTE]}
        self.emit(Opcode.END, "end", {**waits, "wait_store": self.counts[Opcode.STORE]}, 0, {})

    def to_bytes(self) -> bytes:
        """Return the commands as they lie in memory."""
        packed = ((self.words[command.opcode], command.fields) for command in self.commands)
        return b"".join(word.pack(**fields).to_bytes(word.num_bytes, "little") for word, fields in packed)
