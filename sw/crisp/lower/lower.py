"""Lowering: from int8 with real scales to the integers that the machine works with.

The zero point of the input goes into the bias, ``bias' = bias - zx * sum_k W[o, k]``; scales become a 16-bit multiplier and a shift; ReLU
becomes a clamp at the zero point; weights become a matrix in the order of K and are packed by their pattern.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from crisp.arch import Config, Pattern, ProductLayer, check_capacity, pack
from crisp.golden.convolution import to_matrix
from crisp.golden.network import Add, AveragePool, GlobalAveragePool, GroupedProduct, MaxPool, Network, Node, Product, Table
from crisp.golden.requantize import quantize_scale
from crisp.quantize import (
    FUNCTIONS,
    Affine,
    QuantizedAdd,
    QuantizedAveragePool,
    QuantizedMaxPool,
    QuantizedModel,
    QuantizedPool,
    QuantizedProduct,
    QuantizedTable,
)

from .errors import LowerError

__all__ = ["lower"]

INPUT = "input"


def lower(
    model: QuantizedModel, patterns: Mapping[str, Pattern] | None, config: Config, block: int = 16, *, check_buffers: bool = True
) -> Network:
    """Turn a quantized model into an integer network, its weights packed for ``config``.

    Parameters
    ----------
    model : QuantizedModel
        Model in int8.
    patterns : mapping, optional
        Pattern of each pruned layer, by its name. Layers without one, and all without ``patterns``, are packed dense: all blocks, N = M.
    config : Config
        Rows and group size of the machine.
    block : int
        B.
    check_buffers : bool
        Whether every layer must fit the buffers of ``config``.

    Raises
    ------
    LowerError
        When a pattern belongs to no layer, or has another block or group than asked, or a scale is beyond the multiplier's range.
    PatternError
        When weights break their pattern.
    CapacityError
        When a layer does not fit a buffer.
    """
    patterns = dict(patterns or {})
    known = [node.name for node in model.nodes if isinstance(node, QuantizedProduct) and node.convolution.groups == 1]
    for name, pattern in patterns.items():
        if name not in known:
            raise LowerError(f"{name}: a pattern must belong to a layer of the model, which are {', '.join(known)}")
        if (pattern.block, pattern.group) != (block, config.group_size):
            raise LowerError(
                f"{name}: the pattern must have block {block} and group {config.group_size}, not {pattern.block} and {pattern.group}; "
                f"prune for this configuration"
            )
    nodes: list[Node] = []
    for node in model.nodes:
        inputs, output = [model.tensors[name] for name in node.inputs], model.tensors[node.name]
        if isinstance(node, QuantizedProduct) and node.convolution.groups > 1:
            nodes.append(lower_grouped(node, inputs[0], output))
        elif isinstance(node, QuantizedProduct):
            product = lower_product(node, patterns.get(node.name), inputs[0], output, config, block)
            if check_buffers:
                check_capacity(product.layer, config)
            nodes.append(product)
        elif isinstance(node, QuantizedAdd):
            nodes.append(lower_add(node, inputs[0], inputs[1], output))
        elif isinstance(node, QuantizedMaxPool):
            nodes.append(MaxPool(name=node.name, inputs=node.inputs, window=node.window))
        elif isinstance(node, QuantizedTable):
            nodes.append(lower_table(node, inputs[0], output))
        else:
            nodes.append(lower_pool(node, inputs[0], output))
    first, last = model.tensors[INPUT], model.tensors[model.nodes[-1].name]
    return Network(
        name=model.name,
        nodes=nodes,
        input_scale=first.scale,
        input_zero_point=first.zero_point,
        output_scale=last.scale,
        output_zero_point=last.zero_point,
    )


def fixed_point(name: str, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return multiplier and shift of ``scale``; raise `LowerError` where it is beyond what they express."""
    try:
        return quantize_scale(scale)
    except ValueError as error:
        raise LowerError(f"{name}: {error}; calibrate with other images") from error


def lower_product(node: QuantizedProduct, pattern: Pattern | None, source: Affine, output: Affine, config: Config, block: int) -> Product:
    """Lower a convolution or linear layer."""
    matrix = to_matrix(node.weight, config.group_size)
    pattern = pattern or Pattern.dense(matrix.shape, block, config.group_size)
    sums = matrix.sum(axis=1, dtype=np.int64)
    multiplier, shift = fixed_point(node.name, source.scale * node.weight_scale / output.scale)
    clamp_min, clamp_max = output.levels(node.clamp)
    layer = ProductLayer(
        name=node.name,
        packed=pack(matrix, pattern, rows=config.rows, layer=node.name),
        bias=(node.bias - source.zero_point * sums).astype(np.int32),
        multiplier=multiplier,
        shift=shift,
        output_zero_point=output.zero_point,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )
    return Product(name=node.name, inputs=node.inputs, layer=layer, convolution=node.convolution, input_zero_point=source.zero_point)


def lower_grouped(node: QuantizedProduct, source: Affine, output: Affine) -> GroupedProduct:
    """Lower a depthwise or grouped convolution: its weights stay as they are, in the order of K."""
    weights = np.ascontiguousarray(node.weight.transpose(0, 2, 3, 1)).reshape(len(node.weight), -1)
    multiplier, shift = fixed_point(node.name, source.scale * node.weight_scale / output.scale)
    clamp_min, clamp_max = output.levels(node.clamp)
    return GroupedProduct(
        name=node.name,
        inputs=node.inputs,
        weights=weights,
        bias=(node.bias - source.zero_point * weights.sum(axis=1, dtype=np.int64)).astype(np.int32),
        multiplier=multiplier,
        shift=shift,
        convolution=node.convolution,
        input_zero_point=source.zero_point,
        output_zero_point=output.zero_point,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )


def lower_add(node: QuantizedAdd, a: Affine, b: Affine, output: Affine) -> Add:
    """Lower a sum: the larger factor takes all 16 bits, the other has the same shift."""
    scales = np.array([a.scale, b.scale]) / output.scale
    _, shift = fixed_point(node.name, scales.max())
    multipliers = np.rint(np.ldexp(scales, int(shift))).astype(int).tolist()
    clamp_min, clamp_max = output.levels(node.clamp)
    return Add(
        name=node.name,
        inputs=node.inputs,
        zero_points=(a.zero_point, b.zero_point),
        multipliers=(multipliers[0], multipliers[1]),
        shift=int(shift),
        output_zero_point=output.zero_point,
        clamp_min=clamp_min,
        clamp_max=clamp_max,
    )


def lower_table(node: QuantizedTable, source: Affine, output: Affine) -> Table:
    """Lower a function of one value: what it makes of each of the 256."""
    real = (np.arange(-128, 128) - source.zero_point) * source.scale
    value = node.clamp(FUNCTIONS[node.function](torch.from_numpy(real))).numpy()
    levels = np.clip(np.rint(value / output.scale) + output.zero_point, -128, 127)
    return Table(name=node.name, inputs=node.inputs, table=levels.astype(np.int8))


def lower_pool(node: QuantizedPool | QuantizedAveragePool, source: Affine, output: Affine) -> GlobalAveragePool | AveragePool:
    """Lower an average pooling."""
    clamp_min, clamp_max = output.levels(node.clamp)
    taps = node.pixels if isinstance(node, QuantizedPool) else node.window.kernel[0] * node.window.kernel[1]
    multiplier, shift = fixed_point(node.name, np.array(source.scale / (output.scale * taps)))
    common: dict[str, Any] = {
        "name": node.name,
        "inputs": node.inputs,
        "input_zero_point": source.zero_point,
        "multiplier": int(multiplier),
        "shift": int(shift),
        "output_zero_point": output.zero_point,
        "clamp_min": clamp_min,
        "clamp_max": clamp_max,
    }
    if isinstance(node, QuantizedPool):
        return GlobalAveragePool(**common, pixels=node.pixels)
    return AveragePool(**common, window=node.window)
