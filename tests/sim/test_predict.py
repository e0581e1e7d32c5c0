"""Predicted cycles against those of the whole machine, on networks long enough that a wait more or less does not count."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pytest
from tests.sw.compile.integer_networks import Builder

from crisp.arch import Config
from crisp.compile.compile import schedule_network
from crisp.compile.predict import predict
from crisp.runtime import Accelerator

TINY = Config.preset("tiny")
SAME = {"kernel": (3, 3), "padding": (1, 1)}


@functools.cache
def accelerator(clusters: int) -> Accelerator:
    return Accelerator(dataclasses.replace(TINY, clusters=clusters))


def residual(config: Config = TINY) -> Builder:
    """Return blocks as of ResNet-20: shortcuts with and without a convolution, dense and with absent blocks."""
    net = Builder(config, (16, 16, 3), seed=1)
    first = net.conv("input", 16, **SAME)
    second = net.add(net.conv(net.conv(first, 16, **SAME), 16, **SAME), first)
    half = net.conv(net.conv(second, 32, stride=(2, 2), density=0.5, **SAME), 32, density=0.25, **SAME)
    net.conv(net.global_average(net.add(half, net.conv(second, 32, stride=(2, 2)))), 10)
    return net


def mobile(config: Config = TINY) -> Builder:
    """Return depthwise convolutions of both strides between convolutions of single pixels."""
    net = Builder(config, (28, 28, 3), seed=2)
    first = net.depthwise(net.conv("input", 16, stride=(2, 2), **SAME), **SAME)
    second = net.depthwise(net.conv(net.conv(first, 24), 48), stride=(2, 2), **SAME)
    net.conv(net.global_average(net.conv(second, 32)), 10)
    return net


def plain(config: Config = TINY) -> Builder:
    """Return convolutions with poolings between, and a long K, whose weights come while the array works."""
    net = Builder(config, (24, 24, 3), seed=3)
    first = net.maximum(net.conv("input", 16, **SAME), kernel=(2, 2), stride=(2, 2))
    second = net.maximum(net.conv(first, 32, **SAME), kernel=(2, 2), stride=(2, 2))
    net.conv(second, 64, kernel=(6, 6))
    return net


def pooled(config: Config = TINY) -> Builder:
    """Return averages, overlapping maxima, a table and a sum."""
    net = Builder(config, (28, 28, 1), seed=4)
    first = net.average(net.table(net.conv("input", 8, kernel=(5, 5), padding=(2, 2))), kernel=(2, 2), stride=(2, 2))
    second = net.conv(net.maximum(first, **SAME), 8, **SAME)
    net.conv(net.add(second, first), 16, kernel=(3, 3))
    return net


@pytest.mark.parametrize("clusters", [1, 2])
@pytest.mark.parametrize("build", [residual, mobile, plain, pooled])
def test_predicted_cycles(build: Callable[[Config], Builder], clusters: int) -> None:
    machine = accelerator(clusters)
    net = build(machine.config)
    network = net.network()
    compilation = schedule_network(network, machine.config, net.image)
    result = machine.run(compilation.program, {"input": net.images()})
    (output,) = result.outputs.values()
    expected = network.run(net.images())
    np.testing.assert_array_equal(output.reshape(expected.shape), expected)
    assert result.cycles is not None
    assert result.cycles > 19_000
    predicted = predict(compilation.scheduler.stream.commands, machine.config)[-1].end
    assert predicted == pytest.approx(result.cycles, rel=0.03)
