"""Reading single ONNX nodes: attributes as the graph has them, or the reason why a node is not supported."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx

from crisp.golden.convolution import Window

from .graph import Graph, Node, Quantization

__all__ = ["READERS", "Unsupported"]


class Unsupported(Exception):
    """Why a node cannot be compiled."""


def take(node: Node, **defaults: Any) -> list[Any]:
    """Remove attributes from a node and return them, in the order of ``defaults``; refuse all others."""
    others = sorted(set(node.attributes) - set(defaults))
    if others:
        raise Unsupported(f"{node.operation} must not have {', '.join(others)}")
    values = [node.attributes.get(name, default) for name, default in defaults.items()]
    node.attributes = {}
    return values


def want(node: Node, name: str, value: Any, allowed: Iterable[Any], why: str = "") -> None:
    """Refuse an attribute that is none of ``allowed``."""
    if value not in allowed:
        raise Unsupported(f"{node.operation} must have {name} {' or '.join(map(str, allowed))}, not {value}{why}")


def constant(node: Node, graph: Graph, place: int, what: str) -> np.ndarray | None:
    """Return the constant that is an input, None where it is left out; refuse one that is computed."""
    name = node.inputs[place] if place < len(node.inputs) else ""
    if not name:
        return None
    value = graph.value(name)
    if value is None:
        raise Unsupported(f"{node.operation} must have a constant for its {what}, but {name!r} is computed")
    return value


def numbers(value: np.ndarray | None) -> list[int]:
    """Return a constant as a list of integers."""
    return [] if value is None else [int(number) for number in value.ravel()]


def read_window(node: Node, graph: Graph, kernel: list[int], strides: Any, dilations: Any, pads: Any, auto_pad: bytes) -> Window:
    """Return the geometry of a convolution or a pooling; refuse other than two axes."""
    image = graph.tensors[node.inputs[0]].shape
    if len(image) != 4 or len(kernel) != 2:
        raise Unsupported(f"{node.operation} must have images [N, C, H, W] and a kernel of two axes, not {list(image)} and {kernel}")
    strides, dilations, pads = strides or [1, 1], dilations or [1, 1], pads or [0, 0, 0, 0]
    if len(strides) != 2 or len(dilations) != 2 or len(pads) != 4:
        raise Unsupported(
            f"{node.operation} must have strides and dilations for two axes and four pads, not {strides}, {dilations}, {pads}"
        )
    if auto_pad in (b"SAME_UPPER", b"SAME_LOWER"):
        begins, ends = [], []
        for size, taps, stride, dilation in zip(image[2:], kernel, strides, dilations, strict=True):
            total = max((-(-size // stride) - 1) * stride + dilation * (taps - 1) + 1 - size, 0)
            less, more = total // 2, total - total // 2
            begins.append(less if auto_pad == b"SAME_UPPER" else more)
            ends.append(more if auto_pad == b"SAME_UPPER" else less)
        pads = [*begins, *ends]
    elif auto_pad == b"VALID":
        pads = [0, 0, 0, 0]
    if min(pads) < 0:
        raise Unsupported(f"{node.operation} must not cut the image by negative pads, {pads}")
    height, width = kernel
    return Window(
        kernel=(height, width),
        stride=(strides[0], strides[1]),
        padding=(pads[0], pads[1]),
        dilation=(dilations[0], dilations[1]),
        padding_end=(pads[2], pads[3]),
    )


def read_conv(node: Node, graph: Graph) -> None:
    """Convolution, in groups and dilated as it likes."""
    auto_pad, kernel, strides, dilations, pads, groups = take(
        node, auto_pad=b"NOTSET", kernel_shape=None, strides=None, dilations=None, pads=None, group=1
    )
    weight = graph.tensors[node.inputs[1]].shape
    node.attributes = {
        "window": read_window(node, graph, kernel or list(weight[2:]), strides, dilations, pads, auto_pad),
        "groups": groups,
    }


def read_gemm(node: Node, graph: Graph) -> None:
    """Linear layer."""
    alpha, beta, trans_a, trans_b = take(node, alpha=1.0, beta=1.0, transA=0, transB=0)
    for name, value, allowed in (("alpha", alpha, 1), ("beta", beta, 1), ("transA", trans_a, 0)):
        want(node, name, value, (allowed,))
    node.attributes = {"transposed": bool(trans_b)}


def read_matmul(node: Node, graph: Graph) -> None:
    """Linear layer without bias."""
    take(node)
    if any(len(graph.tensors[name].shape) != 2 for name in node.inputs):
        raise Unsupported(
            f"MatMul must be of two matrices, not {' and '.join(str(list(graph.tensors[name].shape)) for name in node.inputs)}"
        )
    node.operation, node.attributes = "Gemm", {"transposed": False}


def read_max_pool(node: Node, graph: Graph) -> None:
    """Max pooling."""
    auto_pad, ceil_mode, order, kernel, strides, dilations, pads = take(
        node, auto_pad=b"NOTSET", ceil_mode=0, storage_order=0, kernel_shape=[], strides=None, dilations=None, pads=None
    )
    want(node, "ceil_mode", ceil_mode, (0,), "; give the padding instead")
    want(node, "storage_order", order, (0,))
    node.attributes = {"window": read_window(node, graph, kernel, strides, dilations, pads, auto_pad)}


def read_average_pool(node: Node, graph: Graph) -> None:
    """Average pooling, of windows that all have as many pixels."""
    auto_pad, ceil_mode, counts_padding, kernel, strides, dilations, pads = take(
        node, auto_pad=b"NOTSET", ceil_mode=0, count_include_pad=0, kernel_shape=[], strides=None, dilations=None, pads=None
    )
    want(node, "ceil_mode", ceil_mode, (0,), "; give the padding instead")
    window = read_window(node, graph, kernel, strides, dilations, pads, auto_pad)
    if any(map(any, window.borders)):
        want(node, "count_include_pad", counts_padding, (1,), ": where there is padding, it must count")
    node.attributes = {"window": window}


def read_reduce_mean(node: Node, graph: Graph) -> None:
    """Mean over both axes of the image: global average pooling."""
    keepdims, axes, empty = take(node, keepdims=1, axes=None, noop_with_empty_axes=0)
    given = axes or numbers(constant(node, graph, 1, "axes"))
    rank = len(graph.tensors[node.inputs[0]].shape)
    if rank != 4 or sorted(axis % rank for axis in given) != [2, 3] or empty:
        raise Unsupported(f"ReduceMean must be over the axes 2 and 3 of [N, C, H, W], not {given} of {rank}")
    node.inputs, node.attributes = node.inputs[:1], {"keepdims": bool(keepdims)}


def read_batch_normalization(node: Node, graph: Graph) -> None:
    """Batch normalisation with its statistics."""
    epsilon, _, training = take(node, epsilon=1e-5, momentum=0.9, training_mode=0)
    want(node, "training_mode", training, (0,))
    channels = graph.tensors[node.inputs[0]].shape[1:2]
    for place, what in enumerate(("scale", "bias", "mean", "variance"), 1):
        value = constant(node, graph, place, what)
        if value is None or value.shape != channels:
            raise Unsupported(f"BatchNormalization must have a {what} for each of {list(channels)} channels")
    node.attributes = {"epsilon": epsilon}


def read_relu(node: Node, graph: Graph) -> None:
    """Clamp from 0."""
    take(node)
    node.attributes = {"bounds": (0.0, np.inf)}


def read_clip(node: Node, graph: Graph) -> None:
    """Clamp between constants."""
    take(node)
    bounds = []
    for place, what, default in ((1, "least value", -np.inf), (2, "largest value", np.inf)):
        value = constant(node, graph, place, what)
        bounds.append(default if value is None else value.item() if value.size == 1 else np.nan)
    if not bounds[0] <= bounds[1]:
        raise Unsupported(f"Clip must have a least value that is not above the largest, not {bounds[0]} and {bounds[1]}")
    node.inputs, node.attributes = node.inputs[:1], {"bounds": (bounds[0], bounds[1])}


def read_elementwise(**defaults: float) -> Callable[[Node, Graph], None]:
    """Return the reader of a function of one value with these parameters."""

    def read(node: Node, graph: Graph) -> None:
        node.attributes = dict(zip(defaults, take(node, **defaults), strict=True))

    return read


def read_gelu(node: Node, graph: Graph) -> None:
    """GELU, exact or by tanh."""
    (approximate,) = take(node, approximate=b"none")
    want(node, "approximate", approximate, (b"none", b"tanh"))
    node.attributes = {"tanh": approximate == b"tanh"}


def read_plain(node: Node, graph: Graph) -> None:
    """An operation without attributes."""
    take(node)


def read_dropout(node: Node, graph: Graph) -> None:
    """Nothing, at inference."""
    take(node, seed=None)
    mode = constant(node, graph, 2, "training mode")
    want(node, "training_mode", False if mode is None else bool(mode), (False,))
    node.operation, node.inputs = "Identity", node.inputs[:1]


def read_flatten(node: Node, graph: Graph) -> None:
    """All channels and pixels of an image in a row."""
    (axis,) = take(node, axis=1)
    shape = graph.tensors[node.inputs[0]].shape
    want(node, "axis", axis % len(shape) if shape else axis, (1,))
    node.operation, node.attributes = "Reshape", {"shape": (shape[0], int(np.prod(shape[1:], dtype=np.int64)))}


def read_reshape(node: Node, graph: Graph) -> None:
    """Another shape, given by a constant."""
    (allow_zero,) = take(node, allowzero=0)
    want(node, "allowzero", allow_zero, (0,))
    wanted = numbers(constant(node, graph, 1, "shape"))
    source = graph.tensors[node.inputs[0]]
    if wanted.count(-1) > 1 or any(length < -1 or (length == 0 and place >= len(source.shape)) for place, length in enumerate(wanted)):
        raise Unsupported(f"Reshape must have a shape with at most one -1, not {wanted}")
    shape = [source.shape[place] if length == 0 else length for place, length in enumerate(wanted)]
    if -1 in shape:
        rest = int(np.prod([length for length in shape if length != -1], dtype=np.int64))
        shape[shape.index(-1)] = source.size // max(rest, 1)
    keep_shape(node, tuple(shape))


def read_squeeze(node: Node, graph: Graph) -> None:
    """Without some axes of length 1."""
    take(node)
    shape = graph.tensors[node.inputs[0]].shape
    axes = [axis % len(shape) for axis in numbers(constant(node, graph, 1, "axes"))]
    axes = axes or [axis for axis, length in enumerate(shape) if length == 1]
    keep_shape(node, tuple(length for axis, length in enumerate(shape) if axis not in axes))


def read_unsqueeze(node: Node, graph: Graph) -> None:
    """With more axes of length 1."""
    take(node)
    shape = list(graph.tensors[node.inputs[0]].shape)
    given = numbers(constant(node, graph, 1, "axes"))
    for axis in sorted(axis % (len(shape) + len(given)) for axis in given):
        shape.insert(axis, 1)
    keep_shape(node, tuple(shape))


def keep_shape(node: Node, shape: tuple[int, ...]) -> None:
    """Make a node a Reshape to ``shape``."""
    node.operation, node.inputs, node.attributes = "Reshape", node.inputs[:1], {"shape": shape}


def read_transpose(node: Node, graph: Graph) -> None:
    """Axes in another order."""
    rank = len(graph.tensors[node.inputs[0]].shape)
    (perm,) = take(node, perm=list(range(rank))[::-1])
    node.attributes = {"perm": tuple(perm)}


def read_quantization(node: Node, graph: Graph) -> None:
    """QuantizeLinear or DequantizeLinear to or from int8, uint8, or int32 for a bias, with constant scales."""
    axis, _, block, output, precision = take(node, axis=1, saturate=1, block_size=0, output_dtype=0, precision=0)
    want(node, "block_size", block, (0,))
    want(node, "output_dtype", output, (0, onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT))
    want(node, "precision", precision, (0, onnx.TensorProto.FLOAT))
    scale, zero = constant(node, graph, 1, "scale"), constant(node, graph, 2, "zero point")
    source = graph.tensors[node.inputs[0]]
    integers = node.operation == "DequantizeLinear"
    if scale is None or scale.dtype != np.float32 or not (np.isfinite(scale) & (scale > 0)).all():
        raise Unsupported(f"{node.operation} must have positive float32 scales")
    if (source.dtype == np.float32) == integers or source.dtype == np.int64:
        raise Unsupported(f"{node.operation} must take {'int8, uint8 or int32' if integers else 'float32'}, not {source.dtype}")
    unsigned = (
        graph.tensors[node.inputs[2]].unsigned if zero is not None else source.unsigned if integers else output != onnx.TensorProto.INT8
    )
    if zero is None:
        zero = np.array(-128 if unsigned else 0, np.int8 if source.dtype != np.int32 else np.int32)
    if np.unique(zero).size != 1 or zero.dtype not in (np.int8, np.int32) or (zero.dtype == np.int32) != (source.dtype == np.int32):
        raise Unsupported(f"{node.operation} must have one zero point for all channels, of the integers' type")
    if zero.dtype == np.int32 and zero.any():
        raise Unsupported(f"{node.operation} must have the zero point 0 for int32, not {zero.flat[0]}")
    scale = scale.astype(np.float64)
    if scale.size == 1:
        scale, axis = scale.reshape(()), 0
    elif source.value is None or scale.ndim != 1:
        raise Unsupported(f"{node.operation} must have one scale where the tensor is no constant, not {scale.size}")
    elif not -len(source.shape) <= axis < len(source.shape) or scale.shape != (source.shape[axis],):
        raise Unsupported(f"{node.operation} must have one scale for each index of axis {axis} of {list(source.shape)}, not {scale.size}")
    node.inputs = node.inputs[:1]
    node.attributes = {
        "quantization": Quantization(scale, int(zero.flat[0]), axis % max(len(source.shape), 1)),
        "dtype": np.dtype(np.float32 if integers else np.int8),
        "unsigned": unsigned and not integers,
    }


READERS: Mapping[str, Callable[[Node, Graph], None]] = {
    "Add": read_plain,
    "AveragePool": read_average_pool,
    "BatchNormalization": read_batch_normalization,
    "Clip": read_clip,
    "Conv": read_conv,
    "DequantizeLinear": read_quantization,
    "Dropout": read_dropout,
    "Elu": read_elementwise(alpha=1.0),
    "Flatten": read_flatten,
    "Gelu": read_gelu,
    "Gemm": read_gemm,
    "GlobalAveragePool": read_plain,
    "HardSigmoid": read_elementwise(alpha=0.2, beta=0.5),
    "HardSwish": read_elementwise(),
    "Identity": read_plain,
    "LeakyRelu": read_elementwise(alpha=0.01),
    "MatMul": read_matmul,
    "MaxPool": read_max_pool,
    "Mul": read_plain,
    "QuantizeLinear": read_quantization,
    "ReduceMean": read_reduce_mean,
    "Relu": read_relu,
    "Reshape": read_reshape,
    "Sigmoid": read_elementwise(),
    "Squeeze": read_squeeze,
    "Swish": read_elementwise(alpha=1.0),
    "Tanh": read_elementwise(),
    "Transpose": read_transpose,
    "Unsqueeze": read_unsqueeze,
}
