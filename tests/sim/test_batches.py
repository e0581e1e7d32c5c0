"""Batches on the whole machine: the same bits as image by image, in fewer cycles."""

from collections.abc import Callable

import numpy as np
import pytest
from tests.sw.compile.integer_networks import Builder, random_network
from tests.sw.compile.test_batch import linear, residual

from crisp.arch import Config
from crisp.compile import compile_network
from crisp.runtime import Accelerator
from crisp_sim.machine import MemoryModel

TINY = Config.preset("tiny")


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(TINY, memory=MemoryModel(latency=20))


def run(accelerator: Accelerator, net: Builder, batch: int) -> tuple[int, int]:
    """Run a network for several images in one program; return the cycles, and those predicted."""
    network, images = net.network(), net.images(batch=batch)
    program = compile_network(network, TINY, net.image, batch=batch)
    result = accelerator.run(program, {"input": images})
    (output,) = result.outputs.values()
    expected = network.run(images)
    np.testing.assert_array_equal(output.reshape(expected.shape), expected)
    assert result.cycles is not None
    return result.cycles, program.info["predicted_cycles"]


@pytest.mark.parametrize("seed", range(8))
def test_random_networks(accelerator: Accelerator, seed: int) -> None:
    run(accelerator, random_network(TINY, seed, length=4), 2 + seed % 4)


@pytest.mark.parametrize(("build", "gain"), [(linear, 3.0), (residual, 1.03)])
def test_a_batch_takes_less(accelerator: Accelerator, build: Callable[[], Builder], gain: float) -> None:
    one, _ = run(accelerator, build(), 1)
    four, predicted = run(accelerator, build(), 4)
    assert 4 * one > gain * four
    assert predicted == pytest.approx(four, rel=0.1)
