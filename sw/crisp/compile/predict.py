"""Prediction: when each command of a program begins and ends, from the waits between them and the cycles that each takes.

Three queues work at the same time, each in its own order. An EXECUTE's windows are gathered while the array still works on the one before,
unless it needs what that one computes. All times are in cycles from the start of the program.
"""

import dataclasses
from collections.abc import Sequence

from crisp.arch import Config, ExecuteKind, Opcode

from .bus import Bus
from .stream import Emitted

__all__ = ["MEMORY_LATENCY", "Timing", "predict"]

#: Cycles from a read request to its data in the memory that is predicted for.
MEMORY_LATENCY = 40

#: Cycles from the begin of a program to its first command.
FETCH = MEMORY_LATENCY + 20

#: Cycles from a LOAD's begin to its first bytes at the buffer, and from the last ones to its end.
LOAD_LATENCY = MEMORY_LATENCY + 10
LOAD_END = 5

#: LOADs that are asked for at a time, and cycles between the work of two.
LOADS_AHEAD = 3
LOAD_GAP = 10

#: Cycles from a STORE's begin to its first beat, and from its last beat to its end.
STORE_LATENCY = 15
STORE_END = MEMORY_LATENCY + 10

#: Bursts that are under way at a time, in either direction, and cycles that one is under way for beyond its beats.
BURSTS = 16
BURST_LATENCY = MEMORY_LATENCY + 8

#: STOREs that are under way at a time.
STORES_AHEAD = 4


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
    array = loader = FETCH
    bus = Bus()
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
        start, ends = max(ready, free[command.opcode]), done[command.opcode]
        match command.opcode:
            case Opcode.EXECUTE:
                # The gather works ahead of the array, but not beyond the end of the one before.
                begin = max(array, start + gather + command.fill)
                array = begin + command.cycles
                end = array + tail[ExecuteKind(command.fields["kind"])]
                free[Opcode.EXECUTE] = max(start, array - command.cycles)
            case Opcode.LOAD:
                # Bytes are asked for ahead; one LOAD after the other puts them into its buffer.
                if len(ends) >= LOADS_AHEAD:
                    start = max(start, ends[-LOADS_AHEAD])
                begin = max(loader, start + LOAD_LATENCY)
                loader = transfer_end(command, begin, bus, config)
                end = loader + LOAD_END
                loader += LOAD_GAP
                free[Opcode.LOAD] = start
            case Opcode.STORE:
                if len(ends) >= STORES_AHEAD:
                    start = max(start, ends[-STORES_AHEAD])
                sent = transfer_end(command, start + STORE_LATENCY, bus, config)
                end = sent + STORE_END
                free[Opcode.STORE] = max(start, sent - STORE_LATENCY)
        ends.append(max(end, ends[-1] if ends else 0))
        times.append(Timing(start, ends[-1]))
    return times


def transfer_end(command: Emitted, begin: int, bus: Bus, config: Config) -> int:
    """Take the bus for a LOAD or STORE; return the cycle behind its last: its unit, the bus, and the bursts each may take longest."""
    return max(begin + command.cycles, bus.take(begin, beats(command, config)), begin + burst_cycles(command))


def beats(command: Emitted, config: Config) -> int:
    """Return the cycles for which a LOAD or STORE has the bus."""
    return command.fields.get("rows", 1) * -(-command.fields.get("row_bytes", 0) // config.beat_bytes)


def burst_cycles(command: Emitted) -> int:
    """Return the cycles that a LOAD or STORE takes at least for its bursts: those of short rows end before the first is answered."""
    return max(0, command.fields.get("rows", 1) - BURSTS) * BURST_LATENCY // BURSTS


def recent(count: int, issued: int) -> int:
    """Return the count of commands that ``count``, modulo 2^16, means when ``issued`` have been issued."""
    return issued - (issued - count) % (1 << 16)
