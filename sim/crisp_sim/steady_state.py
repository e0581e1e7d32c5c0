"""How close the engine comes to one step a cycle, for every N:M and share of absent blocks: layers made for it, and the measurement."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from crisp.arch import Config, Pattern, ProductLayer, pack

from .harness import EngineSimulator

__all__ = ["ABSENT", "SteadyState", "measure_steady_state", "steady_layer"]

#: Shares of absent blocks that are measured.
ABSENT = (0.0, 0.5, 0.75, 0.9)

#: Block columns, so that each share of `ABSENT` is a whole number of blocks.
BLOCK_COLUMNS = 20

BLOCK = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class SteadyState:
    """One measurement.

    Parameters
    ----------
    n : str
        N of the kept blocks, or ``mixed``.
    group : int
        M.
    absent : float
        Share of absent blocks.
    tile_steps : int
        Steps of a tile.
    steps : int
        Steps of the layer: the fewest cycles that the array can take.
    counters : dict
        The engine's counters.
    """

    n: str
    group: int
    absent: float
    tile_steps: int
    steps: int
    counters: dict[str, int]

    @property
    def bubbles(self) -> int:
        """Cycles between the first step and the last without a step."""
        counters = self.counters
        return self.counters["total"] - self.steps - counters["idle_tail"] - self.fill

    @property
    def fill(self) -> int:
        """Cycles before the first step: the first window arrives, and the first block is fetched meanwhile."""
        return self.counters["idle_windows"] + self.counters["idle_weights"]

    @property
    def utilization(self) -> float:
        """Steps / (steps + bubbles + tail): the layer with its first window on chip."""
        return self.steps / (self.counters["total"] - self.fill)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures."""
        return {
            **dataclasses.asdict(self),
            "fill": self.fill,
            "bubbles": self.bubbles,
            "tail": self.counters["idle_tail"],
            "utilization": self.utilization,
        }


def steady_layer(config: Config, n: int | str, absent: float, *, num_channels: int = 32, seed: int = 1) -> ProductLayer:
    """Make a layer of ``num_channels`` x 320 weights with one N, or with several that add up equally in every block row.

    Parameters
    ----------
    config : Config
        What it is packed for.
    n : int or str
        1 to M, or ``mixed``.
    absent : float
        Share of absent blocks.
    num_channels : int
        O.
    seed : int
        Seed of kept blocks and values.
    """
    rng = np.random.default_rng(seed)
    group = config.group_size
    kept = round(BLOCK_COLUMNS * (1 - absent))
    shape = (num_channels, BLOCK_COLUMNS * BLOCK)
    blocks = np.zeros((-(-num_channels // BLOCK), BLOCK_COLUMNS), np.uint8)
    for row in blocks:
        mixed = rng.permutation(np.resize([1, group, max(1, group // 2), group - 1], kept))
        row[rng.permutation(BLOCK_COLUMNS)[:kept]] = mixed if n == "mixed" else n
    pattern = Pattern(shape, BLOCK, group, blocks)
    weights = rng.integers(-127, 128, (num_channels, pattern.groups, group)).astype(np.int8)
    limit = np.repeat(np.repeat(pattern.n, BLOCK, axis=0), pattern.block_groups, axis=1)[:num_channels]
    weights[rng.random(weights.shape).argsort(axis=2).argsort(axis=2) >= limit[:, :, None]] = 0
    return ProductLayer(
        name=f"{n}:{group}, {absent:.0%} of blocks absent",
        packed=pack(weights.reshape(shape), pattern, rows=config.rows),
        bias=rng.integers(-1000, 1001, num_channels).astype(np.int32),
        multiplier=np.full(num_channels, 40000, np.uint16),
        shift=np.full(num_channels, 24, np.uint8),
    )


def measure_steady_state(
    simulator: EngineSimulator, choices: Sequence[int | str], pixel_tiles: int = 24, seed: int = 1
) -> list[SteadyState]:
    """Run layers of every N in ``choices`` and every share of absent blocks.

    Parameters
    ----------
    simulator : EngineSimulator
        The engine.
    choices : sequence of int or str
        Numbers N, or ``mixed``.
    pixel_tiles : int
        Pixel tiles of a layer.
    seed : int
        Seed of layers and activations.
    """
    config = simulator.config
    records = []
    for n in choices:
        for absent in ABSENT:
            layer = steady_layer(config, n, absent, seed=seed)
            rng = np.random.default_rng(seed)
            x = rng.integers(-128, 128, (layer.num_inputs, pixel_tiles * config.columns)).astype(np.int8)
            run = simulator.run(layer, x)
            records.append(
                SteadyState(
                    n=str(n),
                    group=config.group_size,
                    absent=absent,
                    tile_steps=layer.steps // layer.packed.row_tiles,
                    steps=layer.steps * pixel_tiles,
                    counters=dataclasses.asdict(run.counters),
                )
            )
    return records
