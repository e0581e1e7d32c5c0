"""How fast the engine simulates: cycles a second of the C++ harness."""

import os
import platform
import time
from typing import Any

import numpy as np

from crisp.arch import Config, Pattern, ProductLayer, pack
from crisp.golden.engine import run_layer

from .errors import EngineFault
from .harness import EngineSimulator

__all__ = ["bench_simulation"]


def make_layer(config: Config, *, kept_blocks: int, n: int, seed: int) -> tuple[ProductLayer, np.ndarray]:
    """Make a layer like a 3x3 convolution of 64 input channels on 28x28 pixels, with four row tiles of output channels.

    Parameters
    ----------
    config : Config
        What to pack it for.
    kept_blocks : int
        Blocks of 16 that each block row keeps, of 36.
    n : int
        N of all blocks.
    seed : int
        Seed of pattern, weights and activations.
    """
    shape, block, pixels = (4 * config.rows, 576), 16, 784
    rng = np.random.default_rng(seed)
    blank = Pattern.dense(shape, block, config.group_size)
    kept = np.zeros((blank.block_rows, blank.block_columns), bool)
    for row in kept:
        row[rng.permutation(blank.block_columns)[:kept_blocks]] = True
    pattern = Pattern.from_kept(kept, shape, block, config.group_size, n)
    weights = rng.integers(-127, 128, (shape[0], pattern.groups, config.group_size), dtype=np.int8)
    allowed = np.repeat(np.repeat(kept, block, axis=0), pattern.block_groups, axis=1)[: shape[0], : pattern.groups]
    rank = rng.random(weights.shape).argsort(axis=2).argsort(axis=2)
    weights[(rank >= n) | ~allowed[:, :, None]] = 0
    layer = ProductLayer(
        name=f"{kept_blocks}_of_{blank.block_columns}_blocks_{n}:{config.group_size}",
        packed=pack(weights.reshape(shape), pattern, rows=config.rows),
        bias=rng.integers(-(2**12), 2**12, shape[0]).astype(np.int32),
        multiplier=rng.integers(2**15, 2**16, shape[0]).astype(np.uint16),
        shift=np.full(shape[0], 28, np.uint8),
    )
    return layer, rng.integers(-128, 128, (layer.num_inputs, pixels), dtype=np.int8)


def bench_simulation(config: Config | None = None, *, seed: int = 1, seconds: float = 3.0) -> dict[str, Any]:
    """Measure the simulation speed of the harness on a dense and a sparse layer, and check the outputs.

    Parameters
    ----------
    config : Config, optional
        Size of the engine; default is the preset ``default``, 16x16.
    seed : int
        Seed of the layers.
    seconds : float
        Least time to simulate each layer for.

    Returns
    -------
    dict
        JSON values: command, seed, machine, configuration, and for each layer its density, cycles, how many of them the
        array was active, seconds, cycles a second.

    Raises
    ------
    EngineFault
        When an output differs from the golden model's.
    """
    config = config or Config.preset("default")
    simulator = EngineSimulator(config)
    runs = []
    for name, kept_blocks, n in (("dense", 36, config.group_size), ("sparse", 7, config.group_size // 2)):
        layer, x = make_layer(config, kept_blocks=kept_blocks, n=n, seed=seed)
        golden = run_layer(layer, x)
        cycles, active, spent = 0, 0, 0.0
        while spent < seconds:
            run = simulator.run(layer, x)
            if not np.array_equal(run.output, golden):
                raise EngineFault(f"{layer.name}: outputs differ from the golden model's in {(run.output != golden).sum()} places")
            cycles += run.load_cycles + run.cycles
            active += run.counters.active
            spent += run.seconds
        runs.append(
            {
                "layer": name,
                "density": round(layer.packed.pattern.density, 4),
                "cycles_of_a_run": run.cycles,
                "active_of_a_run": run.counters.active,
                "cycles": cycles,
                "active": active,
                "seconds": round(spent, 3),
                "cycles_per_second": round(cycles / spent),
            }
        )
    return {
        "name": "simulation",
        "command": "crisp bench simulation",
        "date": time.strftime("%Y-%m-%d"),
        "seed": seed,
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "config": {"rows": config.rows, "columns": config.columns, "group_size": config.group_size, "drain_rows": config.drain_rows},
        "runs": runs,
    }
