"""Models as other tools write them: floating-point ONNX, quantized by ONNX Runtime's own quantizer, and Q/DQ models by hand."""

import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RANDOM_SEED = 5


class Model:
    """Writes a Q/DQ model node by node.

    Parameters
    ----------
    shape : sequence
        Shape of the input; text where it is free.
    opset : int
        Version of the operators.
    """

    def __init__(self, shape: Sequence[int | str], opset: int = 17) -> None:
        self.shape, self.opset = shape, opset
        self.random = np.random.default_rng(RANDOM_SEED)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.metadata: dict[str, str] = {}

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; return its output."""
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"{kind}{len(self.nodes)}", **attributes))
        return output

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Add a constant; return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def quantize(self, source: str, scale: float = 0.05, zero_point: int = 0, dtype: Any = np.int8) -> str:
        """Quantize and dequantize a tensor."""
        pair = self.constant(scale, np.float32), self.constant(zero_point, dtype)
        return self.node("DequantizeLinear", self.node("QuantizeLinear", source, *pair), *pair)

    def weight(self, *shape: int, axis: int = 0, dtype: Any = np.int8, zero_point: int = 0) -> str:
        """Add random weights with a scale for each output channel; return their real numbers."""
        levels = self.random.integers(-127, 128, shape) + (128 if dtype == np.uint8 else 0)
        scale = self.random.uniform(0.002, 0.01, shape[axis])
        zeros = np.full(shape[axis], zero_point)
        return self.node(
            "DequantizeLinear", self.constant(levels, dtype), self.constant(scale, np.float32), self.constant(zeros, dtype), axis=axis
        )

    def floats(self, *shape: int, low: float = -1, high: float = 1) -> str:
        """Add random real numbers."""
        return self.constant(self.random.uniform(low, high, shape), np.float32)

    def bytes(self, output: str, input_type: int = TensorProto.FLOAT) -> bytes:
        """Return the file of a model that ends in ``output``."""
        graph = helper.make_graph(
            self.nodes,
            "model",
            [helper.make_tensor_value_info("x", input_type, self.shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        helper.set_model_props(model, self.metadata)
        return model.SerializeToString()


def float_model() -> bytes:
    """Return a floating-point model, 3 x 20 x 20: batch norm, ReLU, ReLU6, depthwise, max pooling, a shortcut, mean, linear."""
    model = Model(["N", 3, 20, 20])

    def convolution(x: str, outputs: int, inputs: int, kernel: int, **attributes: Any) -> str:
        spread = 1 / np.sqrt(inputs * kernel * kernel)
        weight = model.constant(model.random.normal(0, spread, (outputs, inputs, kernel, kernel)), np.float32)
        return model.node("Conv", x, weight, model.floats(outputs), pads=[kernel // 2] * 4, **attributes)

    def batch_norm(x: str, channels: int) -> str:
        parameters = [model.floats(channels, low=0.5), *(model.floats(channels) for _ in range(2)), model.floats(channels, low=0.3)]
        return model.node("BatchNormalization", x, *parameters)

    x = model.node("Relu", batch_norm(convolution("x", 8, 3, 3, strides=[2, 2]), 8))
    x = model.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    y = model.node("Clip", convolution(x, 8, 1, 3, group=8), model.constant(0, np.float32), model.constant(6, np.float32))
    x = model.node("Relu", model.node("Add", convolution(y, 8, 8, 1), x))
    x = model.node("Flatten", model.node("GlobalAveragePool", x))
    return model.bytes(model.node("Gemm", x, model.floats(8, 5), model.floats(5)))


class Batches:
    """What ONNX Runtime's quantizer calibrates with."""

    def __init__(self, images: np.ndarray) -> None:
        self.batches: Iterator[dict[str, np.ndarray]] = iter([{"x": images}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def quantize_elsewhere(model: bytes, images: np.ndarray, *, unsigned: bool = False, per_channel: bool = True) -> bytes:
    """Return a model as ONNX Runtime's quantizer makes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that it imports
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        with tempfile.TemporaryDirectory() as folder:
            source, prepared, target = (Path(folder) / name for name in ("a.onnx", "b.onnx", "c.onnx"))
            source.write_bytes(model)
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                target,
                Batches(images),
                quant_format=QuantFormat.QDQ,
                per_channel=per_channel,
                activation_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
                weight_type=QuantType.QInt8,
            )
            return target.read_bytes()


def operations(model: bytes) -> Iterable[str]:
    """Return the operations of a model."""
    return [node.op_type for node in onnx.load_model_from_string(model).graph.node]
