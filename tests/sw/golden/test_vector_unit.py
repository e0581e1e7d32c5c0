import dataclasses

import numpy as np
import pytest
from tests.hw.result_commands import execute_command, random_command

from crisp.arch import Config, ExecuteKind, Sharing
from crisp.golden.nodes import Add
from crisp.golden.vector_unit import output_positions, output_shape, residual_positions, write_results

TINY = Config.preset("tiny")
CONFIGS = [
    TINY,
    dataclasses.replace(TINY, rows=16, columns=3, drain_rows=2),
    dataclasses.replace(TINY, rows=8, columns=6, group_size=2, drain_rows=4),
]


def walk(command: dict[str, int], tensor: str) -> list[int]:
    """Place every output pixel by counting: one place a pixel, and what a wrap adds, as far as the row goes."""
    place, column, places = command[f"{tensor}_q"], command["first_column"], []
    for _ in range(command["pixels"]):
        places.append(place % command[f"{tensor}_ring"])
        place, column = place + 1, column + 1
        if column == command["width"]:
            place, column = place + command["output_wrap_dq"], 0
    return places


def slow_write(command: dict[str, int], results: np.ndarray, activations: np.ndarray, table: np.ndarray, config: Config) -> None:
    """Write the results word by word, as the declaration of the command says it."""
    add = Add(
        name="add",
        inputs=("result", "residual"),
        zero_points=(command["result_zero_point"], command["residual_zero_point"]),
        multipliers=(command["result_multiplier"], command["residual_multiplier"]),
        shift=command["sum_shift"],
        output_zero_point=command["sum_zero_point"],
        clamp_min=command["sum_clamp_min"],
        clamp_max=command["sum_clamp_max"],
    )
    words = 1 if command["kind"] == ExecuteKind.MAX else config.rows // config.group_size
    for pixel, (output, residual) in enumerate(zip(walk(command, "output"), walk(command, "residual"), strict=True)):
        for tile in range(len(results)):
            for word in range(words):
                if tile * words + word >= command["output_words"]:
                    continue

                def address(tensor: str, place: int, tile: int = tile, word: int = word) -> int:
                    plane = command[f"{tensor}_base"] + tile * command[f"{tensor}_tile_stride"] + word * command[f"{tensor}_pitch"]
                    return plane + (place + word * command["output_word_dq"]) % command[f"{tensor}_ring"]

                value = results[tile, word, pixel]
                if command["residual"]:
                    value = add.evaluate(value, activations[address("residual", residual)])
                if command["table"]:
                    value = np.array([table[int(byte) + 128] for byte in value], np.int8)
                activations[address("output", output)] = value


@pytest.mark.parametrize("config", CONFIGS, ids=["tiny", "two_banks", "two_bytes"])
def test_equals_word_by_word(config: Config) -> None:
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(150):
        command = random_command(rng, config)
        row_tiles, words = output_shape(command, config)
        results = rng.integers(-128, 128, (row_tiles, words, command["pixels"], config.group_size)).astype(np.int8)
        before = rng.integers(-128, 128, (config.activation_words, config.group_size)).astype(np.int8)
        table = rng.integers(-128, 128, 256).astype(np.int8)
        expected, activations = before.copy(), before.copy()
        slow_write(command, results, expected, table, config)
        write_results(command, results, activations, table, config)
        np.testing.assert_array_equal(activations, expected)
        assert output_positions(command).tolist() == walk(command, "output")
        assert residual_positions(command).tolist() == walk(command, "residual")
        seen.add((command["residual"], command["table"], command["output_base"] == command["residual_base"]))
    assert len(seen) == 8


@pytest.mark.parametrize(
    ("kind", "sharing", "row_tiles", "shape"),
    [
        (ExecuteKind.PRODUCT, Sharing.SHARED, 5, (5, 4)),
        (ExecuteKind.PRODUCT, Sharing.GROUPED, 5, (5, 4)),
        (ExecuteKind.PRODUCT, Sharing.SPLIT, 5, (1, 4)),
        (ExecuteKind.MAX, Sharing.GROUPED, 5, (5, 1)),
    ],
)
def test_output_shape(kind: ExecuteKind, sharing: Sharing, row_tiles: int, shape: tuple[int, int]) -> None:
    command = execute_command(kind=kind, sharing=sharing, row_tiles=row_tiles)
    assert output_shape(command, CONFIGS[1]) == shape


@pytest.mark.parametrize("results", [np.zeros((1, 1, 2, 4), np.int8), np.zeros((1, 1, 1, 4), np.int32)], ids=["shape", "type"])
def test_wrong_results(results: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^results must be int8 of shape \(1, 1, 1, 4\), not int(8|32) of \(1, 1, ., 4\)$"):
        write_results(execute_command(), results, np.zeros((9, 4), np.int8), np.zeros(256, np.int8), TINY)
