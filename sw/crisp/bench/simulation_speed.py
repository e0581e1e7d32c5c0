"""How fast the machine simulates: cycles a second of processor time."""

import dataclasses
import os
import platform
import time
from typing import Any

import numpy as np

from crisp.arch import Config
from crisp.runtime import Accelerator, DeviceError

from .steady_state import compile_layer, steady_layer

__all__ = ["measure_speed"]

#: Layers: name, N, share of absent blocks.
LAYERS = (("dense", 0, 0.0), ("sparse", 2, 0.75))


def measure_speed(config: Config, *, seed: int = 1, seconds: float = 3.0) -> dict[str, Any]:
    """Measure the simulation speed on a dense and a sparse layer, and check the outputs.

    Parameters
    ----------
    config : Config
        The machine.
    seed : int
        Seed of the layers.
    seconds : float
        Least time to simulate each layer for.

    Returns
    -------
    dict
        JSON values: machine, configuration, and for each layer its cycles, how many of them the array was active, seconds, cycles
        a second.

    Raises
    ------
    DeviceError
        When an output differs from the golden machine's.
    """
    accelerator, golden = Accelerator(config), Accelerator(config, backend="golden")
    runs = []
    for name, n, absent in LAYERS:
        layer = steady_layer(config, n or config.group_size, absent, seed=seed)
        program = compile_layer(layer, config, height=24, width=config.columns)
        image = np.random.default_rng(seed).integers(-128, 128, program.inputs[0].shape, dtype=np.int8)
        expected = golden.run(program, {"image": image}).outputs
        results = []
        start = time.process_time()
        while time.process_time() - start < seconds:
            results.append(accelerator.run(program, {"image": image}))
        spent = time.process_time() - start
        for result in results:
            if any((result.outputs[output] != array).any() for output, array in expected.items()):
                raise DeviceError(f"{layer.name}: outputs must be the golden machine's, but differ")
        cycles = sum(result.counters["cycles"] for result in results)
        runs.append(
            {
                "layer": name,
                "density": round(layer.packed.pattern.density, 4),
                "cycles_of_a_run": results[0].cycles,
                "active_of_a_run": results[0].counters["active"],
                "cycles": cycles,
                "seconds": round(spent, 3),
                "cycles_per_second": round(cycles / spent),
            }
        )
    return {
        "name": "simulation",
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "config": dataclasses.asdict(config),
        "runs": runs,
    }
