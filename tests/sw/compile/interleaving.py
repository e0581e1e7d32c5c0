"""The golden machine with three queues that work at the same time: any order that the waits allow, not only that of the program."""

import copy
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from crisp.arch import MemoryWindow, Opcode
from crisp.arch.program import Program
from crisp.golden.machine import Machine
from crisp.golden.on_chip import OnChip
from crisp.golden.vector_unit import addresses, output_positions, output_shape

__all__ = ["WAITS", "Deadlock", "run_interleaved"]

#: Queue that each wait counts.
WAITS = {"wait_load": Opcode.LOAD, "wait_execute": Opcode.EXECUTE, "wait_store": Opcode.STORE}

#: EXECUTEs between gather and result at a time.
PIPELINE = 3

#: Something that can happen next: a queue begins its next command, or the array finishes its oldest one.
Event = Opcode | None
"""None: the oldest EXECUTE that has begun writes its results."""


class Deadlock(Exception):
    """No command may begin."""


class Queues:
    """A program's commands on their way through the machine.

    An EXECUTE reads all that it needs when it begins, and writes when it ends; others may begin and end in between. So a wait that is
    missing lets some order read what is not there yet, or is there no more.

    Parameters
    ----------
    program : Program
        The program.
    commands : sequence of tuple
        Its commands: opcode and fields.
    image : numpy.ndarray
        Its input, int8 [1, H, W, C].
    """

    def __init__(self, program: Program, commands: Sequence[tuple[Opcode, dict[str, int]]], image: np.ndarray):
        sizes = program.window_bytes
        self.memory = {
            MemoryWindow.PROGRAM: program.program_window(),
            MemoryWindow.SCRATCH: np.zeros(sizes[MemoryWindow.SCRATCH], np.uint8),
            MemoryWindow.INPUT: program.input_window({program.inputs[0].name: image}),
            MemoryWindow.OUTPUT: np.zeros(sizes[MemoryWindow.OUTPUT], np.uint8),
        }
        self.machine = Machine(OnChip.cleared(program.config), self.memory)
        self.waiting = {queue: deque(fields for opcode, fields in commands if opcode is queue) for queue in WAITS.values()}
        self.end = next(fields for opcode, fields in commands if opcode is Opcode.END)
        self.complete = dict.fromkeys(WAITS.values(), 0)
        self.begun: deque[tuple[dict[str, int], OnChip]] = deque()

    def may_begin(self, fields: dict[str, int]) -> bool:
        """Tell whether what a command waits for is complete, as the hardware compares it."""
        return all((self.complete[queue] - fields[name]) % (1 << 16) < 1 << 15 for name, queue in WAITS.items())

    def events(self) -> list[Event]:
        """Return what can happen next."""
        free: list[Event] = [queue for queue, commands in self.waiting.items() if commands and self.may_begin(commands[0])]
        if len(self.begun) == PIPELINE and Opcode.EXECUTE in free:
            free.remove(Opcode.EXECUTE)
        return [*free, None] if self.begun else free

    def happen(self, event: Event) -> None:
        """Let something happen."""
        if event is None:
            self.finish()
            return
        fields = self.waiting[event].popleft()
        if event is Opcode.EXECUTE:
            self.begun.append((fields, copy.deepcopy(self.machine.on_chip)))
            return
        self.machine.step(event, fields)
        self.complete[event] += 1

    def finish(self) -> None:
        """Write the results of the oldest EXECUTE, from what it read when it began."""
        fields, seen = self.begun.popleft()
        reader = Machine(seen, self.memory)
        reader.sums = self.machine.sums
        reader.execute(fields)
        self.machine.sums = reader.sums
        if not fields["open"]:
            row_tiles, words = output_shape(fields, seen.config)
            written = np.arange(row_tiles)[:, None] * words + np.arange(words) < fields["output_words"]
            address = addresses(fields, "output", output_positions(fields), row_tiles, words)[written]
            self.machine.on_chip.activations[address] = seen.activations[address]
        self.complete[Opcode.EXECUTE] += 1


def run_interleaved(
    program: Program, image: np.ndarray, choose: Callable[[list[Event]], Event], *, drop: tuple[Opcode, str] | None = None
) -> np.ndarray:
    """Run a program in an order of ``choose``.

    Parameters
    ----------
    program : Program
        The program.
    image : numpy.ndarray
        Its input, int8 [1, H, W, C].
    choose : callable
        Picks what happens next.
    drop : tuple, optional
        Commands that lose a wait, and which.

    Returns
    -------
    numpy.ndarray
        uint8 bytes of the window OUTPUT.

    Raises
    ------
    Deadlock
        When nothing can happen before the program has ended.
    """
    commands = [(command.opcode, dict(command.unpack())) for command in program.decode()]
    for opcode, fields in commands:
        if drop is not None and opcode is drop[0]:
            fields[drop[1]] = 0
    queues = Queues(program, commands, image)
    while events := queues.events():
        queues.happen(choose(events))
        if queues.may_begin(queues.end) and not any(queues.waiting.values()) and not queues.begun:
            return queues.memory[MemoryWindow.OUTPUT]
    raise Deadlock
