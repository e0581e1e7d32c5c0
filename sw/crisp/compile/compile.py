"""Compilation: an integer network to a program."""

import dataclasses
from typing import Any

from crisp.arch import Config, Opcode
from crisp.arch.program import LayerInfo, Program
from crisp.arch.tensor import Layout, TensorDescriptor
from crisp.golden import Network

from .batch import Batch, batch_operators
from .errors import CompileError
from .interleave import interleave
from .lines import choose_lines
from .operator import Kind, Operator, Tensor
from .order import order_operators
from .plan import Plan
from .predict import predict
from .schedule import NoRoom, Scheduler
from .segments import Segment, choose_segments
from .selection import select_operators

__all__ = ["Compilation", "compile_network", "schedule_network"]

#: Parts of the activation buffer that are planned with, in turn, until all tensors find a place next to each other.
CAPACITIES = (1.0, 0.92, 0.85, 0.75, 0.6)

#: Ways to compute several images, in turn, until one fits: the part of the activation buffer in which results of single images may wait for
#: the others, one in so many words, 0 for none; and whether layers may compute images side by side.
WAYS = ((16, True), (0, True), (0, False))


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


def compile_network(
    network: Network, config: Config, image: tuple[int, int, int], *, batch: int = 1, info: dict[str, Any] | None = None
) -> Program:
    """Compile a network for images of one size.

    Parameters
    ----------
    network : Network
        Integer network, its weights packed for ``config``.
    config : Config
        The machine.
    image : tuple of int
        Height, width and channels of the input.
    batch : int
        Images that a run computes.
    info : dict, optional
        What the program shall remember, such as seeds, as JSON has it.

    Raises
    ------
    CompileError
        When a layer cannot run on the machine, or does not fit it, or the batch is none; names layer, rule and value.
    """
    return schedule_network(network, config, image, batch=batch, info=info).program


def schedule_network(
    network: Network, config: Config, image: tuple[int, int, int], *, batch: int = 1, info: dict[str, Any] | None = None
) -> Compilation:
    """Compile as `compile_network` does, and return what was decided as well."""
    source, operators = select_operators(network, image, config)
    operators = order_operators(operators)
    missing = ""
    for room, is_joined in WAYS if batch > 1 else WAYS[:1]:
        images = batch_operators(source, operators, batch, config, room=config.activation_words // room if room else 0, is_joined=is_joined)
        plan = make_plan(images, config)
        for share in CAPACITIES:
            try:
                scheduler = place(plan, choose_segments(plan, int(config.activation_words * share)))
            except NoRoom as error:
                missing = (
                    f"{error}: finds no room in the activation buffer of {config.activation_words} words; choose a larger configuration"
                )
            except CompileError as error:
                missing = str(error)
                break
            else:
                return Compilation(assemble(network, batch, plan, scheduler, info or {}), plan, scheduler)
    raise CompileError(missing)


def make_plan(images: Batch, config: Config) -> Plan:
    """Return what is planned with."""
    tensors = {source.name: source for source in images.sources}
    for operator in images.operators:
        tensors |= {operator.source.name: operator.source, operator.output.name: operator.output}
    return Plan(images.operators, images.chunks, images.sources, images.outputs, tensors, config, images.parked, images.bounds)


def place(plan: Plan, segments: list[Segment]) -> Scheduler:
    """Write the commands of segments, with lines that are good for the banks as far as there is room for them.

    Raises
    ------
    NoRoom
        When not all tensors find a place.
    """
    lines = choose_lines(plan, segments)
    while True:
        scheduler = Scheduler(plan, segments, lines)
        try:
            scheduler.run()
        except NoRoom:
            if not lines:
                raise
            layers = {name: plan.operators[plan.born[name]].report_name for name in lines}
            least = layers[[*lines][-1]]  # of all images alike
            lines = {name: line for name, line in lines.items() if layers[name] != least}
            continue
        scheduler.stream.commands = interleave(scheduler.stream.commands, plan.config)
        return scheduler


def assemble(network: Network, batch: int, plan: Plan, scheduler: Scheduler, info: dict[str, Any]) -> Program:
    """Put a program together."""
    config = plan.config
    # A layer is an operator, or those that compute it for one image each.
    titles: dict[str, list[Operator]] = {}
    for operator in plan.operators:
        titles.setdefault(operator.report_name, []).append(operator)
    places = {title: number for number, title in enumerate(titles)}
    numbers = {operator.name: places[operator.report_name] for operator in plan.operators}
    cycles = dict.fromkeys(places.values(), 0)
    # A tensor is loaded for the operator that needs it first and stored by the one that computes it.
    for operator in reversed(plan.operators):
        for name in operator.inputs:
            numbers.setdefault(name, places[operator.report_name])
    numbers |= {operator.output.name: places[operator.report_name] for operator in plan.operators}
    numbers["end"] = numbers[plan.operators[-1].name]
    # A layer's cycles are those from the end of what was computed before it to the end of its own.
    timings = predict(scheduler.stream.commands, config)
    before = 0
    for command, timing in zip(scheduler.stream.commands, timings, strict=True):
        if command.opcode is Opcode.EXECUTE:
            cycles[numbers[command.label]] += timing.end - before
            before = timing.end
    size = sum(word.num_bytes for word in (scheduler.stream.words[command.opcode] for command in scheduler.stream.commands))
    offset = -(-size // 64) * 64
    is_cut = any(operator.patches is not None for operator in plan.operators)
    return Program(
        network=network.name,
        config=config,
        commands=scheduler.commands(offset),
        constants=bytes(scheduler.constants.data),
        inputs=(
            describe_tensor(
                plan.sources[0],
                batch,
                config,
                scheduler.places[plan.sources[0].name].stride,
                is_cut,
                name=network.input_name,
                scale=network.input_scale,
                zero_point=network.input_zero_point,
            ),
        ),
        outputs=(
            describe_tensor(
                plan.outputs[0],
                batch,
                config,
                scheduler.places[plan.outputs[0].name].stride,
                name=network.nodes[-1].name,
                scale=network.output_scale,
                zero_point=network.output_zero_point,
            ),
        ),
        scratch_bytes=scheduler.scratch_bytes,
        layers=tuple(
            LayerInfo(
                name=title,
                operation=describe(operators[0]),
                macs=sum(operator.macs for operator in operators),
                predicted_cycles=cycles[places[title]],
            )
            for title, operators in titles.items()
        ),
        command_layers=tuple(numbers[command.label] for command in scheduler.stream.commands),
        info={**info, "predicted_cycles": timings[-1].end},
    )


def describe_tensor(
    tensor: Tensor, batch: int, config: Config, stride: int, is_cut: bool = False, *, name: str, scale: float, zero_point: int
) -> TensorDescriptor:
    """Describe an input or output of ``batch`` images, of which ``tensor`` has the first.

    Planes of one pixel lie side by side, which is one row of all channels. An image that is cut into patches lies row by row.
    """
    is_row = tensor.pixels == 1
    if is_row:
        stride = -(-tensor.planes(config.group_size) * config.group_size // config.beat_bytes) * config.beat_bytes
    return TensorDescriptor(
        name=name,
        shape=(batch, tensor.height, tensor.width // tensor.images, tensor.channels),
        scale=scale,
        zero_point=zero_point,
        layout=Layout.ROWS if is_row or is_cut else Layout.PLANES,
        group_size=config.group_size,
        stride=stride,
        interleave=tensor.images,
    )


def describe(operator: Operator) -> str:
    """Return what an operator computes, in a few words."""
    height, width = operator.window.kernel
    if operator.kind is Kind.MAX and operator.image is not None:
        return "images side by side"
    added = " + add" if operator.residual is not None else ""
    return f"{operator.kind.name.lower()} {height}x{width}{added}"
