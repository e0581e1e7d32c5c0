import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from crisp.arch import LayerError, Pattern, ProductLayer, pack
from crisp.golden.convolution import Convolution, to_matrix
from crisp.golden.engine import run_layer
from crisp.golden.network import Add, GlobalAveragePool, Network, Product, exact_product


def integers(random, *shape):
    return random.integers(-128, 128, size=shape).astype(np.int8)


def product_node(name="conv", source="input", channels=4, outputs=5, kernel=(3, 3), seed=0):
    random = np.random.default_rng(seed)
    matrix = to_matrix(integers(random, outputs, channels, *kernel), 4)
    layer = ProductLayer(
        name=name,
        packed=pack(matrix, Pattern.dense(matrix.shape, 16, 4), rows=4, layer=name),
        bias=random.integers(-5000, 5000, size=outputs).astype(np.int32),
        multiplier=random.integers(2**15, 2**16, size=outputs).astype(np.uint16),
        shift=np.full(outputs, 24, np.uint8),
        output_zero_point=-3,
        clamp_min=-100,
        clamp_max=90,
    )
    padding = (kernel[0] // 2, kernel[1] // 2)
    convolution = Convolution(channels, kernel=kernel, padding=padding)
    return Product(name=name, inputs=(source,), layer=layer, convolution=convolution, input_zero_point=9)


def network(*nodes):
    return Network(name="net", nodes=nodes, input_scale=0.5, input_zero_point=-10, output_scale=1.0, output_zero_point=0)


def exact_round(value):
    """Round a fraction half to even, as Python does."""
    return round(value)


def test_fast_product_equals_the_engine():
    random = np.random.default_rng(3)
    for channels, kernel in ((4, (3, 3)), (1, (3, 3)), (128, (3, 3))):  # the last is beyond float32's exact integers
        node = product_node(channels=channels, kernel=kernel)
        columns = node.columns(integers(random, 2, 5, 4, channels))
        assert np.array_equal(exact_product(node.layer, columns), run_layer(node.layer, columns))


def test_fast_product_rounds_as_the_engine_does():
    """Sums that lie on halves, with every sign and parity, and the largest shift."""
    matrix = np.zeros((3, 4), np.int8)
    matrix[:, 0] = (1, 3, -1)
    layer = ProductLayer(
        "halves",
        pack(matrix, Pattern.dense(matrix.shape, 16, 4), rows=1),
        np.array([0, 1, 2**31 - 1], np.int32),
        np.array([2**15, 2**15, 2**16 - 1], np.uint16),
        np.array([16, 17, 40], np.uint8),
        5,
    )
    x = np.zeros((4, 256), np.int8)
    x[0] = np.arange(-128, 128)
    assert np.array_equal(exact_product(layer, x), run_layer(layer, x))
    assert len(np.unique(run_layer(layer, x)[0])) > 100


def test_extreme_sums_are_exact():
    matrix = np.full((1, 2048), 127, np.int8)
    pattern = Pattern.dense(matrix.shape, 16, 4)
    layer = ProductLayer(
        "edge", pack(matrix, pattern, rows=1), np.array([1], np.int32), np.array([2**15], np.uint16), np.array([34], np.uint8), 0
    )
    x = np.full((2048, 1), -128, np.int8)
    assert exact_product(layer, x) == run_layer(layer, x) == exact_round(Fraction((127 * -128 * 2048 + 1) * 2**15, 2**34))


def test_sum_is_rounded_once_and_half_to_even():
    node = Add(name="add", inputs=("a", "b"), zero_points=(5, -7), multipliers=(40000, 23), shift=17, output_zero_point=11, clamp_min=-20)
    random = np.random.default_rng(0)
    a, b = integers(random, 1, 9, 9, 3), integers(random, 1, 9, 9, 3)
    for x, y, z in zip(a.ravel().tolist(), b.ravel().tolist(), node.evaluate(a, b).ravel().tolist(), strict=True):
        total = Fraction((x - 5) * 40000 + (y + 7) * 23, 2**17)
        assert z == min(max(exact_round(total) + 11, -20), 127)


def test_halves_of_a_sum_go_to_even():
    node = Add(name="add", inputs=("a", "b"), zero_points=(0, 0), multipliers=(1, 1), shift=1)
    a = np.array([1, 2, 3, 4, -1, -2, -3], np.int8).reshape(1, 1, 7, 1)
    b = np.array([0, 1, 0, 1, 0, 1, 0], np.int8).reshape(1, 1, 7, 1)
    assert node.evaluate(a, b).ravel().tolist() == [0, 2, 2, 2, 0, 0, -2]


def test_pool_takes_the_mean_of_real_values():
    node = GlobalAveragePool(
        name="pool", inputs=("x",), pixels=6, input_zero_point=-128, multiplier=43691, shift=18, output_zero_point=-128
    )
    x = integers(np.random.default_rng(0), 4, 2, 3, 5)
    expected = [
        [exact_round(Fraction((int(channel.sum()) + 6 * 128) * 43691, 2**18)) - 128 for channel in image.reshape(6, 5).T.astype(int)]
        for image in x
    ]
    assert node.evaluate(x).shape == (4, 1, 1, 5)
    assert node.evaluate(x)[:, 0, 0].tolist() == np.clip(expected, -128, 127).tolist()


def test_network_runs_in_order_and_shows_every_node():
    nodes = (
        product_node("first", "input", 4, 8),
        product_node("second", "first", 8, 8, seed=1),
        Add(name="add", inputs=("second", "first"), zero_points=(-3, -3), multipliers=(2**15, 2**14), shift=15),
        GlobalAveragePool(name="pool", inputs=("add",), pixels=20, input_zero_point=0, multiplier=52429, shift=20),
        product_node("fc", "pool", 8, 3, (1, 1), seed=2),
    )
    x = integers(np.random.default_rng(5), 3, 5, 4, 4)
    seen = []
    y = network(*nodes).run(x, observe=lambda node, inputs, output: seen.append((node.name, [i.shape for i in inputs], output)))
    first = nodes[0].evaluate(x)
    second = nodes[1].evaluate(first)
    pool = nodes[3].evaluate(nodes[2].evaluate(second, first))
    assert np.array_equal(y, nodes[4].evaluate(pool))
    assert y.shape == (3, 1, 1, 3)
    assert [name for name, _, _ in seen] == ["first", "second", "add", "pool", "fc"]
    assert seen[2][1] == [(3, 5, 4, 8), (3, 5, 4, 8)]
    assert np.array_equal(seen[1][2], second)
    assert np.array_equal(network(*nodes).run(x, product=exact_product), y)
    assert network(*nodes).classify(x, batch=2).tolist() == y[:, 0, 0].argmax(axis=1).tolist()
    assert [node.name for node in network(*nodes).products] == ["first", "second", "fc"]


def test_images_of_a_batch_do_not_meet():
    net = network(product_node())
    x = integers(np.random.default_rng(6), 3, 6, 6, 4)
    assert np.array_equal(net.run(x)[1:2], net.run(x[1:2]))


def test_input_is_quantized_half_to_even_and_clipped():
    net = network(product_node())
    x = np.array([0.0, 0.25, 0.75, -0.25, 1000.0, -1000.0]).reshape(1, 1, 1, 6)
    assert net.quantize_input(x).ravel().tolist() == [-10, -10, -8, -10, 127, -128]
    assert net.quantize_input(np.zeros((2, 4, 5, 6))).shape == (2, 5, 6, 4)


def test_names_that_do_not_fit_together():
    with pytest.raises(LayerError, match="net: a network must have at least one node, not none"):
        network()
    with pytest.raises(LayerError, match="second: input must be computed before its use, not 'first'"):
        network(product_node("second", "first"), product_node("first", "input"))
    with pytest.raises(LayerError, match="net: each name must be used once, not again 'a'"):
        network(product_node("a"), product_node("a"))
    with pytest.raises(LayerError, match="add: must have 2 inputs, not 1"):
        network(Add(name="add", inputs=("input",), zero_points=(0, 0), multipliers=(1, 1), shift=0))


def test_shapes_that_do_not_fit_together():
    with pytest.raises(LayerError, match="conv: a product must have 1 group, not 2; more are a GroupedProduct"):
        dataclasses.replace(product_node(), convolution=Convolution(4, kernel=(3, 3), groups=2))
    with pytest.raises(LayerError, match=r"conv: weights must have K = 8 for .*, not 36"):
        dataclasses.replace(product_node(), convolution=Convolution(8))
    node = Add(name="add", inputs=("a", "b"), zero_points=(0, 0), multipliers=(1, 1), shift=0)
    with pytest.raises(LayerError, match=r"add: inputs must have one shape, not \(1, 2, 2, 1\) and \(1, 2, 2, 2\)"):
        node.evaluate(np.zeros((1, 2, 2, 1), np.int8), np.zeros((1, 2, 2, 2), np.int8))
    pool = GlobalAveragePool(name="pool", inputs=("x",), pixels=6, input_zero_point=0, multiplier=1, shift=0)
    with pytest.raises(LayerError, match="pool: input must have 6 pixels, as at calibration, not 2 x 2"):
        pool.evaluate(np.zeros((1, 2, 2, 1), np.int8))
    with pytest.raises(LayerError, match=r"conv: a product must give int8 of shape \(5, 4\), not int32 of \(5, 4\)"):
        product_node().evaluate(np.zeros((1, 2, 2, 4), np.int8), product=lambda layer, x: np.zeros((5, 4), np.int32))
    with pytest.raises(LayerError, match=r"conv: activations must be int8 of shape \(36, P\), not int8 of \(35, 1\)"):
        exact_product(product_node().layer, np.zeros((35, 1), np.int8))
