"""Where the cycles of a run went, layer by layer."""

import dataclasses
from collections.abc import Mapping, Sequence

from crisp.arch import Program

__all__ = ["LayerReport", "report_layers"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What a layer took.

    Parameters
    ----------
    name, operation : str
        As the program has them.
    macs : int
        Products of the dense layer.
    predicted_cycles : int
        What the compiler expected.
    executes : int
        EXECUTEs that are complete.
    cycles : int
        From the end of the EXECUTE before the layer's to the end of its last; those of all layers add up to the end of the last EXECUTE.
    counters : dict
        Sums of the counters of its EXECUTEs.
    """

    name: str
    operation: str
    macs: int
    predicted_cycles: int
    executes: int = 0
    cycles: int = 0
    counters: Mapping[str, int] = dataclasses.field(default_factory=dict)


def report_layers(program: Program, trace: Sequence[Mapping[str, int]], start: int) -> tuple[LayerReport, ...]:
    """Sum what the trace port told by layers.

    Parameters
    ----------
    program : Program
        What ran.
    trace : sequence of mapping
        For each EXECUTE, in the order of their ends, ``cycle``, ``command`` and its counters.
    start : int
        Cycle in which the program started.
    """
    executes = [0] * len(program.layers)
    cycles = [0] * len(program.layers)
    counters: list[dict[str, int]] = [{} for _ in program.layers]
    before = start
    for record in trace:
        values = dict(record)
        end, command = values.pop("cycle"), values.pop("command")
        if command < len(program.command_layers):
            layer = program.command_layers[command]
            executes[layer] += 1
            cycles[layer] += end - before
            for name, value in values.items():
                counters[layer][name] = counters[layer].get(name, 0) + value
        before = end
    return tuple(
        LayerReport(
            name=layer.name,
            operation=layer.operation,
            macs=layer.macs,
            predicted_cycles=layer.predicted_cycles,
            executes=executes[number],
            cycles=cycles[number],
            counters=counters[number],
        )
        for number, layer in enumerate(program.layers)
    )
