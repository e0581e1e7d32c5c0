"""Prediction: when each command of a program begins and ends, from the waits between them and the cycles that each takes.

Three queues work at the same time, each in its own order. An EXECUTE's windows are gathered while the array still works on the one before,
unless it needs what that one computes. All times are in cycles from the start of the program.
"""

import dataclasses
from collections.abc import Sequence

from crisp.arch import Config, ExecuteKind, Opcode

from .stream import Emitted

__all__ = ["MEMORY_LATENCY", "Timing", "predict"]

#: Cycles from a read request to its data in the memory that is predicted for.
MEMORY_LATENCY = 40

#: Cycles from the begin of a program to its first command.
FETCH = MEMORY_LATENCY + 20

#: Cycles that a LOAD takes beyond its beats: to its first request, through memory, and to its buffer.
LOAD_OVERHEAD = MEMORY_LATENCY + 15

#: Cycles by which the next LOAD begins before the end of this one: its requests are under way while the last bytes come.
LOAD_OVERLAP = MEMORY_LATENCY - 15

#: Cycles that a STORE takes beyond its beats.
STORE_OVERHEAD = MEMORY_LATENCY + 25


@dataclasses.dataclass(frozen=True)
class Timing:
    """When a command begins and is complete, and how long it kept its unit from the next one.

    Parameters
    ----------
    start, end : int
        Cycles.
    """

    start: int
    end: int


def predict(commands: Sequence[Emitted], config: Config) -> list[Timing]:
    """Predict the times of all commands.

    Parameters
    ----------
    commands : sequence of Emitted
        The program, with the cycles that each command takes by itself.
    config : Config
        The machine.

    Returns
    -------
    list of Timing
        One a command; the last one's end is the program's.
    """
    # From a word's request to the array, and from the array's last step to the result in its place; a maximum does not cross the array.
    gather = config.columns + 20
    tail = {ExecuteKind.PRODUCT: config.rows + config.columns + 19, ExecuteKind.MAX: 8}
    done: dict[Opcode, list[int]] = {Opcode.LOAD: [], Opcode.EXECUTE: [], Opcode.STORE: []}
    free = dict.fromkeys(done, FETCH)
    array = FETCH
    times = []
    for command in commands:
        waits = ((Opcode.LOAD, "wait_load"), (Opcode.EXECUTE, "wait_execute"), (Opcode.STORE, "wait_store"))
        ready = FETCH
        for queue, name in waits:
            number = recent(command.fields[name], len(done[queue]))
            if number:
                ready = max(ready, done[queue][number - 1])
        if command.opcode is Opcode.END:
            times.append(Timing(ready, max([ready, *(ends[-1] for ends in done.values() if ends)])))
            continue
        start = max(ready, free[command.opcode])
        if command.opcode is Opcode.EXECUTE:
            # The gather works ahead of the array, but not beyond the end of the one before.
            begin = max(array, start + gather)
            array = begin + command.cycles
            end = array + tail[ExecuteKind(command.fields["kind"])]
            free[Opcode.EXECUTE] = max(start, array - command.cycles)
        else:
            end = start + command.cycles + (LOAD_OVERHEAD if command.opcode is Opcode.LOAD else STORE_OVERHEAD)
            free[command.opcode] = end - LOAD_OVERLAP if command.opcode is Opcode.LOAD else end
        done[command.opcode].append(max(end, done[command.opcode][-1] if done[command.opcode] else 0))
        times.append(Timing(start, end))
    return times


def recent(count: int, issued: int) -> int:
    """Return the count of commands that ``count``, modulo 2^16, means when ``issued`` have been issued."""
    return issued - (issued - count) % (1 << 16)
