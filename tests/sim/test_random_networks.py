"""Random networks, every operation in them, on the whole machine: the same bits from integer network, golden machine and RTL."""

import dataclasses
import functools

import numpy as np
import pytest
from tests.sw.compile.random_models import RandomNet

from crisp.arch import Config
from crisp.compile import compile_network, import_onnx
from crisp.quantize import export_onnx, quantize
from crisp.runtime import Accelerator
from crisp_sim.machine import MachineSimulator, MemoryModel

TINY = Config.preset("tiny")
CONFIGS = {
    "tiny": TINY,
    "2 clusters": dataclasses.replace(TINY, clusters=2),
    "4 clusters": dataclasses.replace(TINY, clusters=4),
    "little memory": dataclasses.replace(TINY, activation_buffer_depth=96),
    "groups of 2, 7 columns": Config(group_size=2, rows=8, columns=7, drain_rows=2),
    "groups of 8": Config(group_size=8, columns=8),
}


@functools.cache
def simulator(name: str) -> MachineSimulator:
    return MachineSimulator(CONFIGS[name])


def check(seed: int, name: str) -> None:
    config = CONFIGS[name]
    model = RandomNet(seed, blocks=3 + seed % 4)
    network = import_onnx(export_onnx(quantize(model, model.images(8, 1)), block=16 if seed % 2 else None), config)
    assert network.image is not None
    program = compile_network(network, config, network.image)
    program.check()
    image = network.quantize_input(model.images(1, 2))

    machine = simulator(name)
    machine.set_memory(MemoryModel(stall=0.3 if seed % 3 == 2 else 0.0, latency=10 * (seed % 5), seed=seed))
    result = Accelerator(config, device=machine).run(program, {program.inputs[0].name: image})
    machine.check_bus()
    (output,) = result.outputs.values()
    np.testing.assert_array_equal(output, network.run(image).reshape(output.shape))
    assert result.cycles == sum(value for counter, value in result.counters.items() if counter == "active" or counter.startswith("idle_"))
    assert sum(layer.executes for layer in result.layers) > 0


@pytest.mark.parametrize("seed", range(16))
def test_random_networks(seed: int) -> None:
    check(seed, "tiny")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("clusters", [2, 4])
def test_clusters(seed: int, clusters: int) -> None:
    check(seed, f"{clusters} clusters")


@pytest.mark.slow  # three machines to build
@pytest.mark.parametrize("name", list(CONFIGS)[3:])
@pytest.mark.parametrize("seed", range(100, 106))
def test_machines_of_other_shapes(seed: int, name: str) -> None:
    check(seed, name)
