"""The golden machine: commands by hand, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sw.compile.integer_networks import Builder, random_network

from crisp.arch import COUNT, ENTRY, EXECUTE, RUN, Config, ExecuteKind, FieldError, LoadTarget, MemoryWindow, Opcode
from crisp.compile import compile_network
from crisp.golden.machine import Machine, read_row_tiles, run_program
from crisp.golden.on_chip import Cluster, OnChip

TINY = Config.preset("tiny")
BLANK = dict.fromkeys((field.name for field in EXECUTE.fields), 0)


def on_chip(counts: list[int], entries: list[tuple[int, int]]) -> Cluster:
    """Return a cluster's buffers with block entries, and steps of which each holds its number."""
    buffers = Cluster.cleared(TINY)
    buffers.counts[: len(counts)] = COUNT.pack_array(blocks=np.array(counts))
    buffers.entries[: len(entries)] = ENTRY.pack_array(
        index=np.array([index for index, _ in entries]), n_minus_1=np.array([n - 1 for _, n in entries])
    )
    buffers.values[:100] = np.arange(100)[:, None]
    buffers.offsets[:100] = (np.arange(100) % 4)[:, None]
    return buffers


def walk(**fields: int) -> dict[str, int]:
    blocks = {"block_tiles": 1, "block_groups_log2": 1, "block_columns": 3, "tail_groups": 1, "window_words": 5, "row_tiles": 1}
    return {**BLANK, **blocks, **fields}


def test_blocks_become_a_matrix() -> None:
    """Block 1 with N = 2 and the tail, one group, with N = 1: steps 0 1 2 3 meet groups 2 2 3 3, step 4 group 4."""
    (matrix,) = read_row_tiles(walk(), on_chip([2], [(1, 2), (2, 1)]), TINY)
    wanted = np.zeros((5, 4), int)
    wanted[2, 1], wanted[3, 2], wanted[3, 3], wanted[4, 0] = 1, 2, 3, 4
    assert (matrix == wanted).all()


def test_row_tiles_share_entries_and_bases_count() -> None:
    """Two row tiles a block row; the third has the next entries; steps go on."""
    buffers = on_chip([9, 1, 2], [(7, 4), (0, 1), (0, 1), (2, 1)])
    matrices = read_row_tiles(walk(row_tiles=3, block_tiles=2, count_base=1, entry_base=1, step_base=10), buffers, TINY)
    assert [sorted(set(matrix[0].flatten().tolist()) - {0}) for matrix in matrices] == [[10, 11], [12, 13], [14, 15, 16]]


@pytest.mark.parametrize("entries", [[(1, 1), (1, 1)], [(2, 1), (1, 1)], [(0, 1), (3, 1)], [(0, 5), (1, 1)]])
def test_entries_that_contradict(entries: list[tuple[int, int]]) -> None:
    with pytest.raises(FieldError, match=r"^row tile 0: block indices must ascend below 3, not \[\d, \d\]$"):
        read_row_tiles(walk(), on_chip([2], entries), TINY)


def test_a_row_tile_without_blocks() -> None:
    with pytest.raises(FieldError, match=r"^row tile 0: block indices must ascend below 3, not \[\]$"):
        read_row_tiles(walk(), on_chip([0], [(0, 1)]), TINY)


@given(st.integers(1, 600), st.integers(1, 5), st.integers(0, 9))
def test_sums_are_exact(words: int, pixels: int, seed: int) -> None:
    """At the ends of what float32 and float64 hold."""
    random = np.random.default_rng(seed)
    matrix = random.choice(np.array([-128, -127, 127], np.int16), (4, words, 4))
    window = random.choice(np.array([-128, 127], np.int8), (words, pixels, 4))
    sums = Machine.multiply(matrix, window)
    assert sums.dtype == np.int64
    assert (sums == np.einsum("rwm,wpm->rp", matrix.astype(np.int64), window.astype(np.int64))).all()


def test_a_copy_by_hand() -> None:
    """LOAD four words, copy them with MAX, STORE them."""
    memory = {
        MemoryWindow.INPUT: np.arange(16, dtype=np.uint8),
        MemoryWindow.OUTPUT: np.zeros(24, np.uint8),
    }
    machine = Machine(OnChip.cleared(TINY), memory)
    machine.on_chip.runs[0] = RUN.pack_array(
        **{name: np.zeros(1, int) for name in ("dy", "dx", "pixels", "plane", "words_minus_1")}, last=np.ones(1, int)
    )[0]
    rows = {"offset": 0, "rows": 1, "row_bytes": 16, "row_stride": 0}
    place = {"cluster": 0, "all_clusters": 0, "destination": 8, "destination_stride": 0}
    machine.step(Opcode.LOAD, {"target": LoadTarget.ACTIVATIONS, "window": MemoryWindow.INPUT, **place, **rows})
    plane = {"pixels": 4, "width": 4, "lane_dx": 1, "lane_dq": 1, "input_height": 1, "input_width": 4, "input_ring": 4, "input_base": 8}
    results = {"output_base": 20, "output_ring": 4, "output_words": 1, "row_tiles": 1, "window_words": 1, "sharing": 2}
    machine.step(Opcode.EXECUTE, {**BLANK, "kind": ExecuteKind.MAX, **plane, **results})
    machine.step(Opcode.STORE, {"target": 0, "window": MemoryWindow.OUTPUT, "source": 20, "source_stride": 0, **rows, "offset": 4})
    machine.step(Opcode.END, {})
    assert machine.on_chip.activations[20:24].reshape(-1).tolist() == list(range(16))
    assert memory[MemoryWindow.OUTPUT].tolist() == [0] * 4 + list(range(16)) + [0] * 4


def test_open_sums_go_on() -> None:
    """A K in parts gives what it gives in one, and leaves nothing behind for the next program."""
    small = Config(**{**TINY.__dict__, "weight_buffer_depth": 300, "column_buffer_depth": 80})
    outputs = []
    for config in (TINY, small):
        net = Builder(config, (2, 2, 288), seed=9)
        net.conv("input", 8)
        program = compile_network(net.network(), config, net.image)
        outputs.append(run_program(program, {"input": net.images()})["conv0"])
    assert (outputs[0] == outputs[1]).all()
    assert len(np.unique(outputs[0])) > 2


def test_progress() -> None:
    net = random_network(TINY, 2, length=3)
    program = compile_network(net.network(), TINY, net.image)
    told: list[tuple[int, int]] = []
    run_program(program, {"input": net.images()}, progress=lambda done, total: told.append((done, total)))
    number = len(program.decode())
    assert told == [(done, number) for done in range(1, number + 1)]
