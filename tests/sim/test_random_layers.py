"""The random layers are repeatable, fit their configuration, and cover what their docstring says."""

import numpy as np
import pytest

from crisp.arch import PRESETS, Config, ProductLayer, check_capacity, layer_command, unpack
from crisp.arch.pattern import check
from crisp.golden.engine import accumulate, run_layer
from crisp_sim.random_layers import CASES, random_layers

NUMBER = 6 * len(CASES)


@pytest.fixture(scope="module", params=sorted(PRESETS))
def config(request: pytest.FixtureRequest) -> Config:
    return Config.preset(request.param)


@pytest.fixture(scope="module")
def layers(config: Config) -> list[tuple[ProductLayer, np.ndarray]]:
    return list(random_layers(config, seed=5, number=NUMBER))


def test_repeatable(config: Config, layers: list[tuple[ProductLayer, np.ndarray]]) -> None:
    for (first, x), (second, again) in zip(layers, random_layers(config, seed=5, number=len(CASES)), strict=False):
        assert (first.packed.to_bytes(), x.tobytes()) == (second.packed.to_bytes(), again.tobytes())
        assert first.channel_words().tobytes() == second.channel_words().tobytes()


def test_sound(config: Config, layers: list[tuple[ProductLayer, np.ndarray]]) -> None:
    """Every layer fits the buffers, obeys its pattern, and has zeros as padding of K."""
    for layer, x in layers:
        check_capacity(layer, config)
        check(unpack(layer.packed), layer.packed.pattern, layer=layer.name)
        assert not x[layer.packed.shape[1] :].any()


def test_cover(config: Config, layers: list[tuple[ProductLayer, np.ndarray]]) -> None:
    """Each property that the docstring names is met by at least one layer."""
    seen: set[str] = set()
    for layer, x in layers:
        packed, pattern = layer.packed, layer.packed.pattern
        (channels, inputs), pixels = packed.shape, x.shape[1]
        command = layer_command(layer, config, pixels)
        output = run_layer(layer, x)
        weights = unpack(packed)
        kinds = set(pattern.n[pattern.kept].tolist())
        properties = {
            "one channel": channels == 1,
            "channels not whole row tiles": channels % config.rows,
            "channels not whole blocks": channels % pattern.block,
            "missing row tiles": 0 < channels % pattern.block <= pattern.block - config.rows,
            "one input": inputs == 1,
            "one group": pattern.groups == 1,
            "inputs not whole groups": inputs % config.group_size,
            "inputs not whole blocks": inputs % pattern.block,
            "last block of one group": pattern.block_columns > 1 and command["tail_groups"] == 1,
            "one pixel": pixels == 1,
            "whole pixel tiles": pixels % config.columns == 0,
            "one pixel too many": pixels > config.columns and pixels % config.columns == 1,
            "ring wraps": pattern.groups * -(-pixels // config.columns) > config.column_buffer_depth,
            "many windows of one word": pattern.groups == 1 and pixels > 30 * config.columns,
            "all kept": pattern.kept.all() and pattern.block_columns > 1,
            "one kept": (pattern.kept.sum(axis=1) == 1).all() and pattern.block_columns > 1,
            "last kept only": pattern.block_columns > 1 and pattern.used_columns.tolist() == [pattern.block_columns - 1],
            "mixed N": len(kinds) > 1,
            "short tiles": pattern.row_steps.min() < config.bank_rows,
            "products of extremes": (weights == -128).any() and (x == -128).any(),
            "empty slots": (packed.values == 0).mean() > 0.5,
            "mostly saturated": np.isin(output, [layer.clamp_min, layer.clamp_max]).mean() > 0.9 and np.unique(output).size > 1,
            "spread outputs": np.unique(output).size > 100,
            "one clamp": layer.clamp_min > -128,
            "output zero point": layer.output_zero_point,
            "shift 0": (layer.shift == 0).any(),
            "multiplier not normalised": (layer.multiplier < 2**15).any(),
            "half-way": _has_half_way(layer, x),
            "sum of 33 bits": np.abs(accumulate(layer, x).astype(np.int64) + layer.bias[:, None]).max() > 2**31,
            **{f"block {size}": pattern.block == size for size in (16, 32, 64)},
            **{f"N = {n}": n in kinds for n in range(1, config.group_size + 1)},
            **{f"{windows} windows fit": config.column_buffer_depth // pattern.groups == windows for windows in (1, 2, 3)},
        }
        seen |= {name for name, holds in properties.items() if holds}
    assert seen == set(properties)


def _has_half_way(layer: ProductLayer, x: np.ndarray) -> bool:
    """Tell whether an output's exact value lies half-way between two integers."""
    sums = unpack(layer.packed).astype(np.int64) @ x[: layer.packed.shape[1]].astype(np.int64) + layer.bias[:, None]
    product = sums * layer.multiplier[:, None].astype(np.int64)
    shift = layer.shift[:, None].astype(np.int64)
    return bool(((product & ((1 << shift) - 1) == (1 << shift) >> 1) & (shift > 0)).any())
