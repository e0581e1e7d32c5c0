"""Compilation: an integer network to a program."""

import dataclasses
from typing import Any

from crisp.arch import Config, Opcode
from crisp.arch.program import LayerInfo, Program
from crisp.arch.tensor import Layout, TensorDescriptor
from crisp.golden import Network

from .errors import CompileError
from .interleave import interleave
from .operator import Operator
from .order import order_operators
from .plan import Plan
from .predict import predict
from .schedule import NoRoom, Scheduler
from .segments import choose_segments
from .selection import select_operators
from .share_out import cut_for_clusters

__all__ = ["Compilation", "compile_network", "schedule_network"]

#: Parts of the activation buffer that are planned with, in turn, until all tensors find a place next to each other.
CAPACITIES = (1.0, 0.92, 0.85, 0.75, 0.6)


@dataclasses.dataclass(frozen=True, eq=False)
class Compilation:
    """A program, and how it came about.

    Parameters
    ----------
    program : Program
        The program.
    plan : Plan
        Operators and tensors.
    scheduler : Scheduler
        Segments, places, and commands with their predicted cycles.
    """

    program: Program
    plan: Plan
    scheduler: Scheduler


def compile_network(network: Network, config: Config, image: tuple[int, int, int], *, info: dict[str, Any] | None = None) -> Program:
    """Compile a network for images of one size.

    Parameters
    ----------
    network : Network
        Integer network, its weights packed for ``config``.
    config : Config
        The machine.
    image : tuple of int
        Height, width and channels of the input.
    info : dict, optional
        What the program shall remember, such as seeds, as JSON has it.

    Raises
    ------
    CompileError
        When a layer cannot run on the machine, or does not fit it; names layer, rule and value.
    """
    return schedule_network(network, config, image, info=info).program


def schedule_network(network: Network, config: Config, image: tuple[int, int, int], *, info: dict[str, Any] | None = None) -> Compilation:
    """Compile as `compile_network` does, and return what was decided as well."""
    source, operators = select_operators(network, image, config)
    operators = order_operators(operators)
    tensors = {source.name: source}
    for operator in operators:
        tensors |= {operator.source.name: operator.source, operator.output.name: operator.output}
    plan = Plan(operators, {operator.name: cut_for_clusters(operator, config) for operator in operators}, source, tensors, config)
    for share in CAPACITIES:
        scheduler = Scheduler(plan, choose_segments(plan, int(config.activation_words * share)))
        try:
            scheduler.run()
            scheduler.stream.commands = interleave(scheduler.stream.commands, config)
            break
        except NoRoom as error:
            missing = str(error)
    else:
        raise CompileError(
            f"{missing}: finds no room in the activation buffer of {config.activation_words} words; choose a larger configuration"
        )
    program = assemble(network, plan, scheduler, info or {})
    return Compilation(program, plan, scheduler)


def assemble(network: Network, plan: Plan, scheduler: Scheduler, info: dict[str, Any]) -> Program:
    """Put a program together."""
    config = plan.config
    names = [operator.name for operator in plan.operators]
    cycles = dict.fromkeys(names, 0)
    # A tensor is loaded for the operator that needs it first and stored by the one that computes it.
    numbers = {name: number for number, name in enumerate(names)}
    for number, operator in reversed(list(enumerate(plan.operators))):
        for name in operator.inputs:
            numbers.setdefault(name, number)
    numbers["end"] = len(names) - 1
    # A layer's cycles are those from the end of what was computed before it to the end of its own.
    timings = predict(scheduler.stream.commands, config)
    before = 0
    for command, timing in zip(scheduler.stream.commands, timings, strict=True):
        if command.opcode is Opcode.EXECUTE:
            cycles[command.label] += timing.end - before
            before = timing.end
    size = sum(word.num_bytes for word in (scheduler.stream.words[command.opcode] for command in scheduler.stream.commands))
    offset = -(-size // 64) * 64
    output = plan.operators[-1].output
    source, is_cut = plan.source, any(operator.patches is not None for operator in plan.operators)
    # Planes of one pixel lie side by side, which is one row of all channels.
    layouts = {tensor.name: Layout.ROWS if tensor.pixels == 1 else Layout.PLANES for tensor in (source, output)}
    strides = {tensor.name: scheduler.places[tensor.name].stride for tensor in (source, output)}
    for tensor in (source, output):
        if tensor.pixels == 1:
            strides[tensor.name] = -(-tensor.planes(config.group_size) * config.group_size // config.beat_bytes) * config.beat_bytes
    if is_cut:
        layouts[source.name] = Layout.ROWS
    return Program(
        network=network.name,
        config=config,
        commands=scheduler.commands(offset),
        constants=bytes(scheduler.constants.data),
        inputs=(
            TensorDescriptor(
                name=source.name,
                shape=(1, source.height, source.width, source.channels),
                scale=network.input_scale,
                zero_point=network.input_zero_point,
                layout=layouts[source.name],
                group_size=config.group_size,
                stride=strides[source.name],
            ),
        ),
        outputs=(
            TensorDescriptor(
                name=output.name,
                shape=(1, output.height, output.width, output.channels),
                scale=network.output_scale,
                zero_point=network.output_zero_point,
                layout=layouts[output.name],
                group_size=config.group_size,
                stride=strides[output.name],
            ),
        ),
        scratch_bytes=scheduler.scratch_bytes,
        layers=tuple(
            LayerInfo(name=operator.name, operation=describe(operator), macs=operator.macs, predicted_cycles=cycles[operator.name])
            for operator in plan.operators
        ),
        command_layers=tuple(numbers[command.label] for command in scheduler.stream.commands),
        info={**info, "predicted_cycles": timings[-1].end},
    )


def describe(operator: Operator) -> str:
    """Return what an operator computes, in a few words."""
    height, width = operator.window.kernel
    added = " + add" if operator.residual is not None else ""
    return f"{operator.kind.name.lower()} {height}x{width}{added}"
