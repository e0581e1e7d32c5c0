"""Bytes that must go over the bus, whatever the compiler does."""

from crisp.compile.compile import Compilation
from crisp.compile.operator import Kind

__all__ = ["compulsory_bytes", "least_bytes"]


def least_bytes(compilation: Compilation) -> int:
    """Return the bytes that must go over the bus however much is kept on chip.

    These are the network's input and output once, and its weights once as they are packed: values and offsets, neither counts nor
    indices nor scales nor commands.
    """
    plan = compilation.plan
    weighted = {op.report_name: op.name for op in plan.operators if op.kind in (Kind.PRODUCT, Kind.DEPTHWISE) and op.macs}
    weights = sum(len(share.steps) for name in weighted.values() for chunk in plan.chunks[name] for share in chunk.shares)
    return weights + sum(tensor.pixels * tensor.channels for tensor in (*plan.sources, *plan.outputs))


def compulsory_bytes(compilation: Compilation) -> int:
    """Return the bytes that must go over the bus where one layer is computed after the other.

    These are `least_bytes`, and each tensor between layers that is larger than the whole activation buffer once out and once in. Where
    layers are computed together, stripe by stripe, such a tensor is never there as a whole, and it can be less.
    """
    plan = compilation.plan
    group, room = plan.config.group_size, plan.config.activation_words
    inner = [operator.output for operator in plan.operators if operator.output not in plan.outputs]
    large = [tensor for tensor in inner if tensor.planes(group) * tensor.pixels > room]
    return least_bytes(compilation) + 2 * sum(tensor.pixels * tensor.channels for tensor in large)
