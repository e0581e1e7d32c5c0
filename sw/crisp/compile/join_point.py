"""Join point: the operator from which on images are computed side by side."""

import math
from collections.abc import Mapping, Sequence

from crisp.arch import Config

from .chunks import Chunk
from .cost import array_cycles
from .images import crossing, join, joinable_from
from .lanes import source_lanes
from .operator import Operator, Tensor
from .segments import BUS_WEIGHT

__all__ = ["choose_first"]

#: Cycles that a copy takes beyond its words, and those of its load and store where it comes from memory.
COPY_OVERHEAD, MEMORY_OVERHEAD = 90, 100


def choose_first(
    source: Tensor, operators: Sequence[Operator], chunks: Mapping[str, Sequence[Chunk]], images: int, config: Config
) -> tuple[float, int]:
    """Choose the operator from which on those that can be joined are.

    Returns
    -------
    gain : float
        Cycles that an image costs less than alone, with those that its bytes on the bus cost; 0 where nothing should be joined.
    first : int
        The operator; behind the last where none should be.
    """
    group = config.group_size
    joinable = joinable_from(operators, images)

    def cost(operator: Operator) -> float:
        """Return what an operator costs, for one image or several side by side: cycles of the array or to load its weights, and bytes."""
        source = operator.source
        lanes = source_lanes(operator, 0, operator.output.height, group=group, pitch=source.pixels, line=source.width)
        array = sum(array_cycles(operator, chunk, lanes, config) for chunk in chunks[operator.report_name])
        bus = sum(chunk.weight_bytes for chunk in chunks[operator.report_name]) / config.beat_bytes
        return max(array, bus) + BUS_WEIGHT * bus

    gains = {index: images * cost(operators[index]) - cost(join(operators[index], images)) for index in joinable}
    conflicts = -(-config.columns // (config.banks // math.gcd(images, config.banks)))
    best, most = len(operators), 0.0
    for position, first in enumerate(joinable):
        joined = joinable[position:]
        if peak(operators, joined, group) * images > config.activation_words:
            continue
        copied = [tensor for tensor in crossing(operators, joined) if tensor.name != source.name]
        gain = sum(gains[index] for index in joined)
        for tensor in copied:
            tiles = -(-tensor.pixels // config.columns)
            words = tiles * tensor.planes(group) * max(conflicts, group // config.drain_rows)
            bus = tensor.pixels * tensor.planes(group) * group // config.beat_bytes
            gain -= images * (words + COPY_OVERHEAD + bus + MEMORY_OVERHEAD)
        if gain > most:
            best, most = first, gain
    return most / images, best


def peak(operators: Sequence[Operator], joined: Sequence[int], group: int) -> int:
    """Return the most words of an image that are alive among joined operators; a sum takes the place of what it adds."""
    sizes = {tensor.name: tensor.pixels * tensor.planes(group) for op in operators for tensor in (op.source, op.output)}
    last = {name: index for index, operator in enumerate(operators) for name in operator.inputs}
    born = {operator.output.name: index for index, operator in enumerate(operators)}
    inside = {operators[index].output.name for index in joined} | {tensor.name for tensor in crossing(operators, joined)}
    most = 0
    for index in joined:
        operator = operators[index]
        alive = {name for name in inside if born.get(name, -1) <= index <= last.get(name, len(operators))}
        if operator.residual is not None and last[operator.residual] == index and operator.residual != operator.source.name:
            alive.discard(operator.residual)
        most = max(most, sum(sizes[name] for name in alive))
    return most
