"""Interleave: the three queues in the order in which their commands are expected to begin.

Commands are fetched in order, and one whose queue is full holds up those behind it, of other queues as well. Written layer after layer, a
LOAD that could bring the next stripe while this one is computed would stand behind EXECUTEs that wait. Since waits say all that must not
overtake, any order serves that keeps each queue's own and in which no command waits for one behind it.
"""

from collections.abc import Sequence

from crisp.arch import Config

from .predict import predict
from .stream import Emitted

__all__ = ["interleave"]


def interleave(commands: Sequence[Emitted], config: Config) -> list[Emitted]:
    """Return commands in the order of their predicted begins.

    A command begins behind the end of what it waits for, and so behind its begin: neither is the order of a queue changed, nor does a
    command come before one that it waits for.

    Parameters
    ----------
    commands : sequence of Emitted
        The program; the last is the END.
    config : Config
        The machine.

    Returns
    -------
    list of Emitted
        The same commands.
    """
    times = predict(commands, config)
    order = sorted(range(len(commands) - 1), key=lambda number: (times[number].start, number))
    return [*(commands[number] for number in order), commands[-1]]
