"""How close the machine comes to one step a cycle, for every N:M and share of absent blocks: programs made for it, and the measurement."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from crisp.arch import Config, Pattern, ProductLayer, Program, pack
from crisp.compile.compile import compile_network
from crisp.golden.convolution import Convolution
from crisp.golden.network import Network, Product
from crisp.runtime import Accelerator

__all__ = ["ABSENT", "SteadyState", "compile_layer", "measure_steady_state", "steady_layer"]

#: Shares of absent blocks that are measured.
ABSENT = (0.0, 0.5, 0.75, 0.9)

#: Block columns, so that each share of `ABSENT` is a whole number of blocks.
BLOCK_COLUMNS = 20

BLOCK = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class SteadyState:
    """One measurement: a layer on twice as many pixels, less the layer. So what begins and ends a layer cancels.

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
        Steps: the fewest cycles that the array can take.
    window_words : int
        Words that are gathered, one a cycle: the fewest cycles that the gather can take.
    counters : dict
        Counters of the EXECUTEs.
    """

    n: str
    group: int
    absent: float
    tile_steps: int
    steps: int
    window_words: int
    counters: dict[str, int]

    @property
    def bubbles(self) -> int:
        """Cycles without a step."""
        return self.counters["total"] - self.steps

    @property
    def utilization(self) -> float:
        """Share of the cycles that have a step."""
        return self.steps / self.counters["total"]

    @property
    def bound(self) -> int:
        """The fewest cycles that array and gather leave possible."""
        return max(self.steps, self.window_words)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures."""
        return {**dataclasses.asdict(self), "bubbles": self.bubbles, "utilization": self.utilization, "bound": self.bound}


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


def compile_layer(layer: ProductLayer, config: Config, *, height: int, width: int) -> Program:
    """Compile one layer as a 1x1 convolution of an image."""
    node = Product(
        name=layer.name,
        inputs=("image",),
        layer=layer,
        convolution=Convolution(channels=layer.packed.shape[1]),
        input_zero_point=0,
    )
    network = Network(
        name=layer.name,
        nodes=(node,),
        input_scale=1.0,
        input_zero_point=0,
        output_scale=1.0,
        output_zero_point=layer.output_zero_point,
        input_name="image",
    )
    return compile_network(network, config, (height, width, layer.packed.shape[1]))


def measure_steady_state(
    accelerator: Accelerator, choices: Sequence[int | str], *, pixel_tiles: int = 24, seed: int = 1
) -> Iterator[SteadyState]:
    """Run layers of every N in ``choices`` and every share of absent blocks.

    Parameters
    ----------
    accelerator : Accelerator
        A machine with a clock and a trace port.
    choices : sequence of int or str
        Numbers N, or ``mixed``.
    pixel_tiles : int
        Pixel tiles by which the two runs of a layer differ.
    seed : int
        Seed of layers and activations.
    """
    config = accelerator.config
    for n in choices:
        for absent in ABSENT:
            layer = steady_layer(config, n, absent, seed=seed)
            pattern = layer.packed.pattern
            once, twice = (run_layer(accelerator, layer, pixel_tiles * times, seed) for times in (1, 2))
            yield SteadyState(
                n=str(n),
                group=config.group_size,
                absent=absent,
                tile_steps=layer.steps // layer.packed.row_tiles,
                steps=layer.steps * pixel_tiles,
                window_words=int(sum(pattern.column_groups[column] for column in pattern.used_columns)) * pixel_tiles,
                counters={name: twice[name] - once[name] for name in once},
            )


def run_layer(accelerator: Accelerator, layer: ProductLayer, pixel_tiles: int, seed: int) -> dict[str, int]:
    """Run a layer on random activations; return the counters of its EXECUTEs."""
    # An image of one row is not cut into stripes, so that both runs are one EXECUTE.
    program = compile_layer(layer, accelerator.config, height=1, width=pixel_tiles * accelerator.config.columns)
    image = np.random.default_rng(seed).integers(-128, 128, program.inputs[0].shape, dtype=np.int8)
    (report,) = accelerator.run(program, {program.inputs[0].name: image}).layers
    return dict(report.counters)
