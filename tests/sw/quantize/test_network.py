"""The integer network against an independent one in torch, and against the float model."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from tests.sw.small import CHECKPOINT, fashion_mnist, small_mobile, small_net, striped_split
from torch.nn import functional

from crisp.arch import Config, Pattern, PatternError
from crisp.compile import CompileError
from crisp.data import normalize
from crisp.golden.convolution import to_matrix
from crisp.golden.engine import run_layer
from crisp.golden.network import Add, AveragePool, GroupedProduct, MaxPool, Product, Table, exact_product
from crisp.models import accuracy, load_checkpoint, logits, select_classes
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
    QuantizeError,
    QuantizeOptions,
    RangeMethod,
    quantize,
    to_network,
)
from crisp.quantize.activations import NO_CLAMP

IMAGES = striped_split(60, 4, 12, seed=0).images


def sparse_net():
    """Return a network whose conv3 keeps 2 of every 4 weights in half of its blocks, and the pattern."""
    model = small_net()
    kept = np.zeros((2, 18), bool)
    kept[0, ::2] = kept[1, 1::2] = True
    pattern = Pattern.from_kept(kept, (32, 288), 16, 4, 2)
    mask = np.repeat(np.repeat(kept, 16, axis=0), 16, axis=1) & (np.arange(288) % 4 < 2)
    with torch.no_grad():
        model.conv3.weight *= torch.from_numpy(mask.reshape(32, 3, 3, 32).transpose(0, 3, 1, 2).astype(np.float32))
    return model, {"conv3": pattern}


def reference_requantize(total, scale, output, clamp=NO_CLAMP):
    """Scale in fixed point with torch's own rounding: float64 holds 49-bit products exactly, and torch rounds half to even."""
    multiplier, shift = scale
    product = total.double() * torch.as_tensor(multiplier, dtype=torch.float64) / 2.0 ** torch.as_tensor(shift, dtype=torch.float64)
    low, high = (min(max(limit / output.scale + output.zero_point, -128), 127) for limit in (clamp.low, clamp.high))
    return torch.clamp(torch.round(product) + output.zero_point, round(low), round(high)).int()


def reference_fixed_point(scale):
    """Return multiplier and shift by search: the largest shift that keeps the multiplier in 16 bits."""
    shift = max(shift for shift in range(64) if round(Fraction(scale) * 2**shift) < 2**16)
    return round(Fraction(scale) * 2**shift), shift


def reference_run(model, images):
    """Compute a quantized model with torch, int32, channels first, without patterns, packing or golden code."""
    values = {"input": torch.from_numpy(images).permute(0, 3, 1, 2).int()}
    for node in model.nodes:
        x, source, output = values[node.inputs[0]], model.tensors[node.inputs[0]], model.tensors[node.name]
        if isinstance(node, QuantizedProduct):
            geometry = node.convolution
            (above, below), (left, right) = geometry.borders
            padded = functional.pad(x - source.zero_point, (left, right, above, below)).double()  # float64 holds every sum exactly
            weight = torch.from_numpy(node.weight).double()
            sums = functional.conv2d(padded, weight, None, geometry.stride, 0, geometry.dilation, geometry.groups)
            scales = [reference_fixed_point(source.scale * scale / output.scale) for scale in node.weight_scale.tolist()]
            sums += torch.from_numpy(node.bias)[:, None, None]
            values[node.name] = reference_requantize(sums, torch.tensor(scales).T[:, :, None, None], output, node.clamp)
        elif isinstance(node, QuantizedAdd):
            other = model.tensors[node.inputs[1]]
            scales = [source.scale / output.scale, other.scale / output.scale]
            _, shift = reference_fixed_point(max(scales))
            left, right = (round(Fraction(scale) * 2**shift) for scale in scales)
            total = (x - source.zero_point) * left + (values[node.inputs[1]] - other.zero_point) * right
            values[node.name] = reference_requantize(total, (1, shift), output, node.clamp)
        elif isinstance(node, QuantizedMaxPool):
            window = node.window
            values[node.name] = functional.max_pool2d(x.double(), window.kernel, window.stride, window.padding, window.dilation).int()
        elif isinstance(node, QuantizedTable):
            real = FUNCTIONS[node.function]((x - source.zero_point).double() * source.scale).clamp(node.clamp.low, node.clamp.high)
            values[node.name] = torch.clamp(torch.round(real / output.scale) + output.zero_point, -128, 127).int()
        elif isinstance(node, QuantizedAveragePool):
            window, taps = node.window, math.prod(node.window.kernel)
            total = functional.avg_pool2d((x - source.zero_point).double(), window.kernel, window.stride, window.padding) * taps
            scale = reference_fixed_point(source.scale / (output.scale * taps))
            values[node.name] = reference_requantize(total.round(), scale, output, node.clamp)
        else:
            assert isinstance(node, QuantizedPool)
            total = (x - source.zero_point).sum(dim=(2, 3), keepdim=True)
            scale = reference_fixed_point(source.scale / (output.scale * node.pixels))
            values[node.name] = reference_requantize(total, scale, output, node.clamp)
    return {name: value.permute(0, 2, 3, 1).numpy() for name, value in values.items()}


@pytest.mark.parametrize("preset", ["tiny", "default"])
@pytest.mark.parametrize("backend", [run_layer, exact_product])
def test_every_node_equals_torch_in_integers(preset, backend):
    model, patterns = sparse_net()
    quantized = quantize(model, IMAGES)
    network = to_network(quantized, Config.preset(preset), patterns)
    images = network.quantize_input(normalize(IMAGES[:5]))
    expected, seen = reference_run(quantized, images), []

    def observe(node, inputs, output):
        seen.append(node.name)
        assert np.array_equal(output, expected[node.name]), node.name

    network.run(images, product=backend, observe=observe)
    assert seen == [node.name for node in quantized.nodes]


def test_every_other_node_equals_torch_in_integers():
    model = small_mobile()
    images = np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype(np.float32)
    quantized = quantize(model, images)
    network = to_network(quantized, Config())
    inputs = network.quantize_input(images)
    expected, kinds = reference_run(quantized, inputs), set()

    def observe(node, inputs, output):
        kinds.add(type(node))
        assert np.array_equal(output, expected[node.name]), node.name

    network.run(inputs, observe=observe)
    assert kinds == {Product, GroupedProduct, Add, MaxPool, AveragePool, Table}
    output = (network.run(inputs)[:, 0, 0].astype(float) - network.output_zero_point) * network.output_scale
    with torch.no_grad():
        assert np.abs(output - model(torch.from_numpy(images)).numpy()).max() < 0.05


def test_pattern_saves_steps_and_changes_no_value():
    model, patterns = sparse_net()
    quantized = quantize(model, IMAGES)
    dense, sparse = (to_network(quantized, Config(), chosen) for chosen in (None, patterns))
    images = dense.quantize_input(normalize(IMAGES[:4]))
    assert np.array_equal(dense.run(images), sparse.run(images))
    steps = [{product.name: product.layer.steps for product in network.products} for network in (dense, sparse)]
    assert steps[1]["conv3"] * 4 == steps[0]["conv3"]
    assert steps[1]["conv2"] == steps[0]["conv2"]


def test_integer_network_is_near_the_float_model():
    model = small_net()
    network = to_network(quantize(model, IMAGES), Config())
    output = network.run(network.quantize_input(normalize(IMAGES)))[:, 0, 0].astype(float)
    real = (output - network.output_zero_point) * network.output_scale
    expected = logits(model, IMAGES)
    assert np.abs(real - expected).max() < 0.05 * np.ptp(expected)


def test_zero_point_is_in_the_bias_and_relu_in_the_clamp():
    quantized = quantize(small_net(), IMAGES)
    network = to_network(quantized, Config())
    product = network.nodes[0]
    assert isinstance(product, Product)
    node = quantized.nodes[0]
    zero_point = quantized.tensors["input"].zero_point
    assert zero_point == product.input_zero_point != 0
    assert product.layer.bias.tolist() == (node.bias - zero_point * to_matrix(node.weight, 4).sum(axis=1, dtype=np.int64)).tolist()
    assert product.layer.clamp_min == product.layer.output_zero_point == quantized.tensors["conv1"].zero_point
    assert network.products[-1].layer.clamp_min == -128


def add_node(scale):
    """Return the sum of the input and itself, ``scale`` times as coarse as the output."""
    tensors = {"input": Affine(scale, 0), "add": Affine(1.0, 0)}
    nodes = [QuantizedAdd(name="add", inputs=("input", "input"))]
    (node,) = to_network(QuantizedModel(name="net", nodes=nodes, tensors=tensors, image=(2, 2, 1)), Config()).nodes
    assert isinstance(node, Add)
    return node


@pytest.mark.parametrize("scale", [1.0, 0.3, 0.99999, 1.99999, 37.0])
def test_factors_of_a_sum_take_16_bits(scale):
    node = add_node(scale)
    assert 2**15 <= node.multipliers[0] < 2**16
    assert node.multipliers[0] * 2.0**-node.shift == pytest.approx(scale, rel=2**-16)


def test_any_group_runs_a_pruned_network():
    """Weights pruned for another M or block obey a pattern all the same, if not one that is as good."""
    model, patterns = sparse_net()
    quantized = quantize(model, IMAGES)
    reference = to_network(quantized, Config(), patterns)
    images = reference.quantize_input(normalize(IMAGES[:4]))
    for config, density in ((Config(group_size=8), 0.25), (Config(group_size=2), 0.5), (Config(rows=32), 0.5)):
        network = to_network(quantized, config, patterns)
        assert np.array_equal(network.run(images), reference.run(images))
        (conv3,) = [product.layer for product in network.products if product.name == "conv3"]
        assert conv3.packed.pattern.density == pytest.approx(density)


def test_what_does_not_fit():
    model, patterns = sparse_net()
    quantized = quantize(model, IMAGES)
    with pytest.raises(QuantizeError) as caught:
        to_network(quantized, Config(), {"conv9": patterns["conv3"]})
    assert str(caught.value) == "conv9: a pattern must belong to a layer of the model, which are conv1, conv2, conv3, shortcut, fc"
    with pytest.raises(QuantizeError) as caught:
        to_network(quantized, Config(), {**patterns, "conv2": Pattern.dense((32, 144), 32, 4)})
    assert str(caught.value) == "network: patterns must have one block and one group, not (16, 4), (32, 4)"
    with pytest.raises(PatternError, match="conv2: row 0, group 0"):
        to_network(quantized, Config(), {"conv2": Pattern.from_kept(np.ones((2, 9)), (32, 144), 16, 4, 2)})
    tensors = {**quantized.tensors, "conv1": Affine(1e-12, 0)}
    with pytest.raises(CompileError, match="conv1: scales must be positive and less than"):
        to_network(dataclasses.replace(quantized, tensors=tensors), Config())


@pytest.mark.skipif(not CHECKPOINT.is_file(), reason="the trained checkpoint is not in this tree")
@pytest.mark.parametrize("method", list(RangeMethod))
def test_int8_is_as_accurate_as_float_on_real_images(method):
    classes, data = (0, 3, 7), fashion_mnist()
    model = select_classes(load_checkpoint(CHECKPOINT)[0], classes)
    training, test = data.train.select(classes), data.test.select(classes).take(slice(200))
    quantized = quantize(model, training.images[:100], QuantizeOptions(method=method))
    network = to_network(quantized, Config())
    answers = network.classify(network.quantize_input(normalize(test.images)))
    assert np.mean(answers == test.labels) >= accuracy(model, test) - 0.01
    assert np.mean(answers == logits(model, test.images).argmax(axis=1)) >= 0.98
    few = network.quantize_input(normalize(test.images[:4]))
    assert np.array_equal(network.run(few), network.run(few, product=exact_product))
