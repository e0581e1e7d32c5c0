"""Models that other tools write: each against ONNX Runtime, and what the passes make of it."""

import numpy as np
import pytest
from onnx import TensorProto
from tests.sw.compile.foreign import Model, float_model, operations, quantize_elsewhere
from tests.sw.compile.runtime import compare, total

from crisp.arch import Config
from crisp.compile import import_onnx
from crisp.golden.network import Network

IMAGES = np.random.default_rng(0).normal(size=(12, 3, 20, 20)).astype(np.float32)


def kinds(network: Network) -> list[str]:
    return [type(node).__name__ for node in network.nodes]


def check(model: bytes, x: np.ndarray) -> Network:
    """Import a model, hold it against ONNX Runtime in floating point, and return it."""
    network, differences = compare(model, x, optimise=False)
    assert differences
    assert total(differences.values()).is_small, differences
    return network


@pytest.mark.parametrize("optimise", [False, True], ids=["float", "integer"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("unsigned", [False, True])
def test_quantized_by_onnx_runtime(unsigned: bool, per_channel: bool, optimise: bool) -> None:
    model = quantize_elsewhere(float_model(), IMAGES, unsigned=unsigned, per_channel=per_channel)
    assert {"Conv", "MaxPool", "Add", "GlobalAveragePool", "Flatten", "Gemm"} <= set(operations(model))
    network, differences = compare(model, IMAGES, optimise=optimise)
    assert total(differences.values()).is_small
    assert kinds(network) == ["Product", "MaxPool", "GroupedProduct", "Product", "Add", "GlobalAveragePool", "Product"]
    assert (network.image, network.input_name) == ((20, 20, 3), "x")


def test_batch_norm_between_convolution_and_quantization() -> None:
    model = Model(["N", 3, 20, 20])
    x = model.node("Conv", model.quantize("x"), model.weight(6, 3, 3, 3), model.floats(6), strides=[2, 2])
    parameters = [model.floats(6), model.floats(6), model.floats(6), model.floats(6, low=0.2)]  # factors of both signs
    x = model.node("BatchNormalization", x, *parameters, epsilon=1e-3)
    network = check(model.bytes(model.quantize(model.node("Relu", x))), IMAGES)
    assert kinds(network) == ["Product"]
    assert network.nodes[0].layer.clamp_min == 0


def test_uint8_everywhere() -> None:
    """Also where a missing zero point makes it so, and weights around 128."""
    model = Model(["N", 3, 20, 20], opset=13)
    x = model.quantize("x", 0.03, 120, np.uint8)
    x = model.node("Conv", x, model.weight(4, 3, 3, 3, dtype=np.uint8, zero_point=128))
    scale = model.constant(0.02, np.float32)
    x = model.node("DequantizeLinear", model.node("MaxPool", model.node("QuantizeLinear", x, scale), kernel_shape=[2, 2]), scale)
    network = check(model.bytes(x), IMAGES)
    assert kinds(network) == ["Product", "MaxPool"]
    assert network.output_zero_point == -128


@pytest.mark.parametrize("dtype", [TensorProto.UINT8, TensorProto.INT8])
def test_input_is_integers_already(dtype: int) -> None:
    model = Model([1, 3, 5, 5])
    zero = model.constant(3, np.uint8 if dtype == TensorProto.UINT8 else np.int8)
    x = model.node("DequantizeLinear", "x", model.constant(0.5, np.float32), zero)
    data = model.bytes(model.quantize(model.node("GlobalAveragePool", x)), dtype)
    network = import_onnx(data, Config())
    assert (network.input_scale, network.input_zero_point) == (0.5, 3 - (128 if dtype == TensorProto.UINT8 else 0))
    assert kinds(network) == ["GlobalAveragePool"]


def test_linear_layers_in_other_words() -> None:
    """MatMul with and without bias, Gemm of both orders, weights behind a transposition, a new shape in front."""
    model = Model(["N", 3, 20, 20])
    x = model.quantize(model.node("AveragePool", model.quantize("x"), kernel_shape=[5, 5], strides=[5, 5]))
    x = model.node("Reshape", x, model.constant([0, -1], np.int64))
    x = model.node("MatMul", x, model.weight(48, 20, axis=1))
    x = model.quantize(model.node("Relu", model.node("Add", x, model.floats(20))))
    x = model.quantize(model.node("Gemm", x, model.weight(20, 9, axis=1), model.floats(9)))
    x = model.quantize(model.node("Gemm", x, model.weight(7, 9), transB=1))
    x = model.node("Unsqueeze", x, model.constant([2, 3], np.int64))
    x = model.node("Squeeze", x, model.constant([-1, -2], np.int64))
    weight = model.node("Transpose", model.weight(5, 7), perm=[1, 0])
    network = check(model.bytes(model.quantize(model.node("MatMul", x, weight))), IMAGES)
    assert kinds(network) == ["AveragePool", *["Product"] * 4]
    assert network.products[0].convolution.kernel == (4, 4)
    assert network.products[0].layer.clamp_min == network.products[0].layer.output_zero_point == 0


def test_means_of_whole_images() -> None:
    model = Model(["N", 3, 20, 20])
    x = model.quantize("x", zero_point=4)
    first = model.quantize(model.node("ReduceMean", x, axes=[-1, -2], keepdims=0), 0.01, -9)
    second = model.quantize(model.node("AveragePool", x, kernel_shape=[20, 20]), 0.01, 3)
    flat = model.node("Flatten", model.node("Identity", model.node("Dropout", second)))
    network = check(model.bytes(model.quantize(model.node("Add", first, flat), 0.01)), IMAGES)
    assert kinds(network) == ["GlobalAveragePool", "GlobalAveragePool", "Add"]


def test_every_operation_quantized_by_itself() -> None:
    """ReLU between two quantizations of one scale is a limit; of different ones it is a table; so is a second quantization."""
    model = Model(["N", 3, 20, 20])
    x = model.quantize(model.node("Conv", model.quantize("x"), model.weight(8, 3, 3, 3)), 0.04, 5)
    x = model.quantize(model.node("Relu", x), 0.04, 5)
    y = model.quantize(model.node("Conv", x, model.weight(8, 8, 1, 1)), 0.06, -3)
    y = model.quantize(model.node("Clip", y, model.constant(-1, np.float32), model.constant(2, np.float32)), 0.02, 7)
    x = model.quantize(x, 0.05, 9)
    network = check(model.bytes(model.quantize(model.node("Add", x, y), 0.05)), IMAGES)
    assert kinds(network) == ["Product", "Product", "Table", "Table", "Add"]
    assert network.nodes[0].layer.clamp_min == network.nodes[0].layer.output_zero_point == 5


def test_limits_and_pooling_before_quantization() -> None:
    """The convolution takes the limits from behind the pooling, and ends in integers before it."""
    model = Model(["N", 3, 20, 20])
    x = model.node("Conv", model.quantize("x"), model.weight(8, 3, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2])
    x = model.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = model.node("Clip", model.node("Relu", x), "", model.constant(1.5, np.float32))
    network = check(model.bytes(model.quantize(x, 0.01, -100)), IMAGES)
    assert kinds(network) == ["Product", "MaxPool"]
    assert (network.nodes[0].layer.clamp_min, network.nodes[0].layer.clamp_max) == (-100, 50)
    assert network.nodes[0].convolution.borders == ((0, 1), (0, 1))


def test_groups_become_zeros() -> None:
    model = Model(["N", 3, 20, 20])
    x = model.quantize(model.node("Conv", model.quantize("x"), model.weight(32, 3, 1, 1)), 0.03, 11)
    x = model.quantize(model.node("Conv", x, model.weight(32, 8, 3, 3), model.floats(32), group=4, pads=[1, 1, 1, 1]), 0.08)
    x = model.node("Conv", x, model.weight(64, 1, 3, 3), group=32, dilations=[2, 2])  # depthwise, but with two outputs a channel
    network = check(model.bytes(model.quantize(x)), IMAGES)
    assert kinds(network) == ["Product"] * 3
    assert [round(product.layer.packed.pattern.density, 3) for product in network.products] == [1, 0.5, 0.125]


def test_functions() -> None:
    model = Model(["N", 3, 20, 20])
    x = model.quantize("x", 0.03)
    for kind, attributes in (
        ("LeakyRelu", {"alpha": 0.2}),
        ("Elu", {"alpha": 0.7}),
        ("Tanh", {}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("HardSwish", {}),
    ):
        x = model.quantize(model.node(kind, x, **attributes), 0.01, -20)
    x = model.quantize(model.node("Mul", model.node("HardSigmoid", x, alpha=1 / 6, beta=0.5), x), 0.005, -30)
    x = model.quantize(model.node("Mul", x, model.node("Sigmoid", x)), 0.005, -30)
    network = check(model.bytes(x), IMAGES)
    assert kinds(network) == ["Table"] * 7


def test_one_tensor_dequantized_twice_and_weights_shared() -> None:
    model = Model(["N", 3, 20, 20])
    scale, zero = model.constant(0.05, np.float32), model.constant(2, np.int8)
    levels = model.node("QuantizeLinear", "x", scale, zero)
    first, second = (model.node("DequantizeLinear", levels, scale, zero) for _ in range(2))
    weight = model.weight(3, 3, 1, 1)
    first, second = (model.quantize(model.node("Conv", x, weight)) for x in (first, second))
    network = check(model.bytes(model.quantize(model.node("Add", first, second))), IMAGES)
    assert kinds(network) == ["Product", "Product", "Add"]


def test_block_from_metadata_and_by_hand() -> None:
    model = Model(["N", 16, 1, 1])
    levels = np.zeros((32, 16, 1, 1), np.int8)
    levels[:16, :4] = 3
    levels[16:, ::4] = 5
    weight = model.node("DequantizeLinear", model.constant(levels), model.constant(0.1, np.float32), model.constant(0, np.int8))
    output = model.quantize(model.node("Conv", model.quantize("x"), weight))
    dense = model.bytes(output)
    model.metadata = {"crisp.block": "16"}
    pruned = model.bytes(output)

    def density(data: bytes, block: int | None, config: Config) -> tuple[int, float]:
        (product,) = import_onnx(data, config, block=block).products
        return product.layer.packed.block, product.layer.packed.pattern.density

    assert density(dense, None, Config()) == (16, 1)
    assert density(pruned, None, Config()) == (16, 1)  # a row of blocks has one whole group in it
    assert density(dense, 4, Config(rows=4, drain_rows=1)) == (4, 0.25)
    assert density(pruned, None, Config(rows=32)) == (32, 1)  # no block is smaller than the array
    model.metadata = {"crisp.block": "8"}
    assert density(model.bytes(output), None, Config(rows=8, group_size=2)) == (8, 0.5)
