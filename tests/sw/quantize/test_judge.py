"""The fast network against the golden model: the same bits out of every node."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.sw.compile.integer_networks import random_network
from tests.sw.compile.random_models import RandomNet
from tests.sw.small import CHECKPOINT, fashion_mnist, small_mobile, small_net, striped_split
from torch import nn

from crisp.arch import Config, unpack
from crisp.golden.network import Add, AveragePool, GlobalAveragePool, GroupedProduct, MaxPool, Network, Product, Table, exact_product
from crisp.models import load_checkpoint
from crisp.quantize import FastNetwork, QuantizeError, judge, quantize, to_network
from crisp.quantize.judge import cut


def check(network: Network, images: np.ndarray) -> set[type]:
    """Hold every node against the golden model; return the kinds of nodes."""
    expected, seen = {}, []
    network.run(images, product=exact_product, observe=lambda node, inputs, output: expected.update({node.name: output}))

    def observe(name: str, output: np.ndarray) -> None:
        seen.append(name)
        assert output.dtype == np.int8
        assert np.array_equal(output, expected[name]), name

    output = FastNetwork(network).run(images, observe=observe)
    assert seen == [node.name for node in network.nodes]
    assert np.array_equal(output, expected[network.nodes[-1].name])
    return {type(node) for node in network.nodes}


def any_images(network: Network, count: int, seed: int) -> np.ndarray:
    """Return images of all values that int8 has."""
    assert network.image is not None
    return np.random.default_rng(seed).integers(-128, 128, (count, *network.image)).astype(np.int8)


def test_every_node_has_the_golden_bits():
    kinds = set()
    for seed in range(12):
        builder = random_network(Config.preset("tiny"), seed, length=8)
        kinds |= check(builder.network(), builder.images(seed, batch=3))
    for model in (RandomNet(seed) for seed in range(12)):
        network = to_network(quantize(model, model.images(20, 0)), Config())
        kinds |= check(network, any_images(network, 3, 0))
    network = to_network(quantize(small_mobile(), np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype(np.float32)), Config())
    kinds |= check(network, any_images(network, 3, 0))
    assert kinds == {Product, GroupedProduct, Add, MaxPool, AveragePool, GlobalAveragePool, Table}


@pytest.mark.parametrize(("inputs", "pieces"), [(500, 1), (2000, 4), (3000, 1)])
def test_sums_that_float32_does_not_hold(inputs, pieces):
    """The largest weights on the largest inputs: sums reach 2^25, where odd ones are lost in float32, and each step of a sum is seen."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 64))
    with torch.no_grad():
        model[1].weight[:] = torch.where(torch.rand(64, inputs) < 0.01, 0.9, 1.0)
    network = to_network(quantize(model, np.full((1, inputs, 1, 1), 255, np.float32)), Config())
    (node,) = network.nodes
    random = np.random.default_rng(0)
    x = np.full((40, inputs), 127, np.int8)
    x[:, 0] -= random.integers(0, 2, 40).astype(np.int8)
    sums = unpack(node.layer.packed).astype(np.int64) @ x.T.astype(np.int64)
    fine = {
        "bias": (-sums.mean(axis=1)).round().astype(np.int32),
        "multiplier": np.full(64, 2**15, np.uint16),
        "shift": np.full(64, 15, np.uint8),
        "output_zero_point": 0,
    }
    network = dataclasses.replace(network, nodes=[dataclasses.replace(node, layer=dataclasses.replace(node.layer, **fine))])
    check(network, x[:, None, None])
    outputs = network.run(x[:, None, None], product=exact_product)
    assert -128 < outputs.min() < outputs.max() < 127
    assert len(cut(unpack(node.layer.packed).reshape(64, inputs, 1, 1), 255)) == pieces


def test_share_that_is_right():
    model, data = small_net(), striped_split(130, 4, 12, seed=3)
    network = to_network(quantize(model, data.images), Config())
    told = []
    answers = network.classify(network.quantize_input(data.inputs()))
    assert judge(network, data, lambda *step: told.append(step[:3])) == np.mean(answers == data.labels)
    assert told[-1] == ("judge", 130, 130)
    assert judge(network, data.relabel(answers)) == 1
    with pytest.raises(QuantizeError, match="judging must have at least one image, not none"):
        judge(network, data.take(slice(0)))


def test_inexact_convolutions_are_noticed(monkeypatch):
    data = striped_split(8, 4, 12, seed=3)
    network = to_network(quantize(small_net(), data.images), Config())
    exact = torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda *arguments: exact(*arguments) * 1.01)
    with pytest.raises(QuantizeError, match="network: torch must compute sums of integers exactly, but differs from the golden model"):
        judge(network, data)


@pytest.mark.skipif(not CHECKPOINT.is_file(), reason="the trained checkpoint is not in this tree")
def test_a_trained_network_answers_as_the_golden_one():
    test = fashion_mnist().test.take(slice(200))
    network = to_network(quantize(load_checkpoint(CHECKPOINT)[0], test.images[:100]), Config())
    images = network.quantize_input(test.inputs())
    check(network, images[:40])
    assert np.array_equal(FastNetwork(network).classify(images), network.classify(images))
