"""ONNX Runtime's opinion of a quantized model, node by node, to hold the network of integers against."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from crisp.arch import Config
from crisp.compile.emit import emit
from crisp.compile.front_end import run_passes
from crisp.compile.read_onnx import read_onnx
from crisp.golden.network import AveragePool, GlobalAveragePool, Network, Node


@dataclasses.dataclass
class Difference:
    """How far a network is from ONNX Runtime: values compared, values that differ, and the largest difference in int8 steps."""

    values: int = 0
    different: int = 0
    largest: int = 0

    def add(self, ours: np.ndarray, theirs: np.ndarray, ties: np.ndarray | bool = False) -> None:
        """Count differences; where the exact value lies half way between two steps, either is right."""
        assert ours.shape == theirs.shape
        distance = np.abs(ours.astype(int) - theirs.astype(int))
        distance[ties & (distance == 1)] = 0
        self.values += distance.size
        self.different += int((distance > 0).sum())
        self.largest = max(self.largest, int(distance.max(initial=0)))

    @property
    def is_small(self) -> bool:
        """The project's bound: 1 in the last place, in at most one value of a thousand."""
        return self.largest <= 1 and self.different * 1000 <= self.values


def runtime_tensors(model: bytes, x: np.ndarray, *, optimise: bool) -> dict[str, np.ndarray]:
    """Run a model; return all outputs of QuantizeLinear by name, uint8 shifted to int8."""
    proto = onnx.load_model_from_string(model)
    types = {constant.name: constant.data_type for constant in proto.graph.initializer}
    quantized = {}
    for node in proto.graph.node:
        if node.op_type == "QuantizeLinear":
            quantized[node.output[0]] = types[node.input[2]] if len(node.input) > 2 else TensorProto.UINT8
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_tensor_value_info(name, kind, None) for name, kind in quantized.items())
    options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    options.add_session_config_entry("session.qdqisint8allowed", "1")  # else signed activations keep to floating point on x86
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(list(quantized), {session.get_inputs()[0].name: x})
    return {name: (value ^ 0x80).view(np.int8) if value.dtype == np.uint8 else value for name, value in zip(quantized, values, strict=True)}


def channels_last(value: np.ndarray) -> np.ndarray:
    """Return [N, C, H, W] or [N, C] as [N, H, W, C]."""
    return value.reshape(*value.shape, *[1] * (4 - value.ndim)).transpose(0, 2, 3, 1)


def ties(node: Node, x: np.ndarray) -> np.ndarray | bool:
    """Tell where the mean that a pooling takes lies exactly half way: common, since it divides small integers by a small one."""
    if not isinstance(node, AveragePool | GlobalAveragePool):
        return False
    if isinstance(node, GlobalAveragePool):
        total = x.sum(axis=(1, 2), keepdims=True, dtype=np.int64) - node.pixels * node.input_zero_point
    else:
        padded = node.window.pad(x, node.input_zero_point).astype(np.int64) - node.input_zero_point
        total = sum(padded[:, rows, columns] for _, _, rows, columns in node.window.taps(*x.shape[1:3]))
    exact = total * node.multiplier / 2.0**node.shift
    return np.abs(exact - np.floor(exact) - 0.5) < 1e-4


def total(differences: Iterable[Difference]) -> Difference:
    """Return the differences of several nodes together."""
    parts = list(differences)
    return Difference(sum(part.values for part in parts), sum(part.different for part in parts), max(part.largest for part in parts))


def compare(model: bytes, x: np.ndarray, *, optimise: bool, config: Config | None = None) -> tuple[Network, dict[str, Difference]]:
    """Compute every node of the imported network on ONNX Runtime's inputs; return the network and the differences by node.

    What passes made without a counterpart in the model, such as a pooling's output before its axes are dropped, is computed on ours.
    """
    graph = read_onnx(model)
    run_passes(graph)
    network = emit(graph, config or Config(), None)
    tensors = {node.name: node.output for node in graph.nodes}
    theirs = runtime_tensors(model, x, optimise=optimise)
    images = network.quantize_input(x)
    values = {network.input_name: images}
    differences = {}
    for node in network.nodes:
        inputs = [values[name] for name in node.inputs]
        ours = node.evaluate(*inputs)
        values[node.name] = ours
        if tensors[node.name] in theirs:
            values[node.name] = channels_last(theirs[tensors[node.name]])
            differences[node.name] = Difference()
            differences[node.name].add(ours, values[node.name], ties(node, inputs[0]))
    return network, differences
