"""Random layers as programs: the simulated machine gives the golden machine's bits, whatever memory does."""

import numpy as np
import pytest

from crisp.arch import IDLE_CAUSES, Config, ProductLayer, Program
from crisp.bench.steady_state import compile_layer
from crisp.golden.engine import run_layer
from crisp.runtime import Accelerator
from crisp_sim.machine import MachineSimulator, MemoryModel
from crisp_sim.random_layers import CASES, random_layers

TINY = Config.preset("tiny")
SEED = 11

MEMORIES = {
    "default": MemoryModel(),
    "fast": MemoryModel(latency=0, bandwidth=2),
    "pauses": MemoryModel(stall=0.5, seed=SEED),
    "slow": MemoryModel(latency=300, bandwidth=0.2, outstanding=2),
}


def as_image(layer: ProductLayer, x: np.ndarray) -> np.ndarray:
    """Return the activations of a layer, int8 [K, P], as an image of one row."""
    channels = layer.packed.shape[1]
    return np.ascontiguousarray(x[:channels].T).reshape(1, 1, -1, channels)


def compile_random(layer: ProductLayer, x: np.ndarray, config: Config) -> Program:
    program = compile_layer(layer, config, height=1, width=x.shape[1])
    program.check()
    return program


@pytest.fixture(scope="module")
def simulator() -> MachineSimulator:
    return MachineSimulator(TINY)


@pytest.mark.parametrize("memory", MEMORIES)
def test_random_layers(simulator: MachineSimulator, memory: str) -> None:
    """Each kind of layer gives the golden engine's bits; counters add up; the bus's rules are kept."""
    simulator.set_memory(MEMORIES[memory])
    accelerator = Accelerator(TINY, device=simulator)
    for layer, x in random_layers(TINY, seed=SEED, number=len(CASES)):
        program = compile_random(layer, x, TINY)
        result = accelerator.run(program, {"image": as_image(layer, x)})
        (output,) = result.outputs.values()
        np.testing.assert_array_equal(output.reshape(x.shape[1], -1).T, run_layer(layer, x), err_msg=layer.name)
        assert result.cycles == result.counters["active"] + sum(
            value for name, value in result.counters.items() if name.startswith("idle_")
        )
        (report,) = result.layers
        assert report.counters["total"] == report.counters["active"] + sum(report.counters[cause] for cause in IDLE_CAUSES)
        assert report.counters["active"] == result.counters["active"]
        simulator.check_bus()
        assert simulator.outstanding == 0


def test_runs_repeat() -> None:
    """Two simulators share nothing: the same programs take the same cycles on both, one after the other or in turn."""
    first, second = (Accelerator(TINY, device=MachineSimulator(TINY)) for _ in range(2))
    programs = [(compile_random(layer, x, TINY), as_image(layer, x)) for layer, x in random_layers(TINY, seed=1, number=2)]
    order = [(first, 0), (second, 1), (first, 1), (second, 0)]
    cycles = [accelerator.run(programs[number][0], {"image": programs[number][1]}).cycles for accelerator, number in order]
    assert cycles[0] == cycles[3]
    assert cycles[1] == cycles[2]
