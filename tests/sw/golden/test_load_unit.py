"""LOAD and STORE against loops over bytes, and what they refuse."""

import dataclasses
import re

import numpy as np
import pytest

from crisp.arch import Config
from crisp.arch.commands import LOAD, STORE, LoadTarget
from crisp.arch.errors import CapacityError, FieldError
from crisp.arch.loads import encode_steps
from crisp.golden.load_unit import load
from crisp.golden.on_chip import OnChip
from crisp.golden.store_unit import store

CONFIG = Config.preset("tiny")


def load_command(target: LoadTarget, **fields: int) -> dict[str, int]:
    return {**{field.name: 0 for field in LOAD.fields}, "target": target, "rows": 1, **fields}


def store_command(**fields: int) -> dict[str, int]:
    return {**{field.name: 0 for field in STORE.fields}, "rows": 1, **fields}


def random_window(size: int = 4096) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)


@pytest.mark.parametrize(
    ("target", "name", "size"),
    [
        (LoadTarget.COUNTS, "counts", 2),
        (LoadTarget.ENTRIES, "entries", 2),
        (LoadTarget.CHANNELS, "channels", 8),
        (LoadTarget.RUNS, "runs", 8),
        (LoadTarget.TABLE, "table", 1),
    ],
)
def test_words(target, name, size):
    on_chip, window = OnChip.cleared(CONFIG), random_window()
    load(load_command(target, offset=64, row_bytes=5 * size, destination=3), window, on_chip)
    owner = on_chip if target in (LoadTarget.RUNS, LoadTarget.TABLE) else on_chip.clusters[0]
    buffer = getattr(owner, name)
    assert buffer[3:8].tobytes() == window[64 : 64 + 5 * size].tobytes()
    assert not buffer[:3].any()
    assert not buffer[8:].any()


@pytest.mark.parametrize("target", [LoadTarget.STEPS, LoadTarget.DENSE_STEPS])
def test_steps(target):
    rng = np.random.default_rng(2)
    values = rng.integers(-128, 128, (10, CONFIG.rows)).astype(np.int8)
    offsets = rng.integers(0, CONFIG.group_size, (10, CONFIG.rows)).astype(np.uint8)
    if target is LoadTarget.STEPS:
        window = encode_steps(values, offsets, CONFIG.group_size).reshape(-1)
    else:
        window = values.view(np.uint8).reshape(-1)
        offsets[:] = (np.arange(10) % CONFIG.group_size)[:, None]
    on_chip = OnChip.cleared(CONFIG)
    load(load_command(target, row_bytes=len(window), destination=7), window, on_chip)
    cluster = on_chip.clusters[0]
    assert (cluster.values[7:17] == values).all()
    assert (cluster.offsets[7:17] == offsets).all()
    assert not cluster.values[17:].any()


@pytest.mark.parametrize("target", [LoadTarget.STEPS, LoadTarget.DENSE_STEPS, LoadTarget.COUNTS, LoadTarget.ENTRIES, LoadTarget.CHANNELS])
def test_clusters(target):
    """One cluster takes it, or all."""
    config = dataclasses.replace(CONFIG, clusters=4)
    window = random_window()
    for fields, takers in (({"cluster": 0}, {0}), ({"cluster": 3}, {3}), ({"all_clusters": 1}, {0, 1, 2, 3})):
        on_chip = OnChip.cleared(config)
        load(load_command(target, row_bytes=40, **fields), window, on_chip)
        written = {
            number
            for number, cluster in enumerate(on_chip.clusters)
            if any(getattr(cluster, field.name).any() for field in dataclasses.fields(cluster))
        }
        assert written == takers
    with pytest.raises(FieldError, match=re.escape("load.cluster must be less than 4, not 4")):
        load(load_command(target, row_bytes=40, cluster=4), window, OnChip.cleared(config))


def test_activations():
    on_chip, window = OnChip.cleared(CONFIG), random_window()
    command = load_command(LoadTarget.ACTIVATIONS, offset=8, rows=3, row_bytes=20, row_stride=32, destination=100, destination_stride=50)
    load(command, window, on_chip)
    for row in range(3):
        start = 8 + 32 * row
        assert on_chip.activations[100 + 50 * row : 105 + 50 * row].tobytes() == window[start : start + 20].tobytes()
    assert np.count_nonzero(on_chip.activations.any(axis=1)) == 15


def test_patches():
    """Three channels, 5 pixels a patch, stride 2: two bytes before the row, some behind it."""
    on_chip, window = OnChip.cleared(CONFIG), random_window()
    command = load_command(
        LoadTarget.PATCHES, rows=2, row_bytes=33, row_stride=36, destination=10, destination_stride=40,
        patch_step=6, patch_words=4, patch_lead=2, patches=6, fill=-7,
    )  # fmt: skip
    load(command, window, on_chip)
    for row in range(2):
        line = window[36 * row : 36 * row + 33].view(np.int8)
        for word in range(4):
            for patch in range(6):
                for byte in range(4):
                    position = patch * 6 + word * 4 + byte - 2
                    expected = line[position] if 0 <= position < 33 else -7
                    assert on_chip.activations[10 + 6 * row + 40 * word + patch, byte] == expected


def test_store():
    on_chip, window = OnChip.cleared(CONFIG), random_window()
    on_chip.activations[:] = np.random.default_rng(3).integers(-128, 128, on_chip.activations.shape)
    expected = window.copy()
    for row in range(3):
        expected[16 + 64 * row : 28 + 64 * row] = on_chip.activations[200 + 30 * row : 203 + 30 * row].view(np.uint8).reshape(-1)
    store(store_command(offset=16, rows=3, row_bytes=12, row_stride=64, source=200, source_stride=30), window, on_chip)
    assert (window == expected).all()


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"target": LoadTarget.COUNTS, "row_bytes": 3}, FieldError, "load.row_bytes must be a multiple of 2 for COUNTS, not 3"),
        ({"target": LoadTarget.COUNTS, "row_bytes": 2, "rows": 2}, FieldError, "load.rows must be 1 for COUNTS, not 2"),
        ({"target": LoadTarget.PATCHES, "row_bytes": 2049}, FieldError, "load.row_bytes must not exceed 2048 for PATCHES, not 2049"),
        (
            {"target": LoadTarget.TABLE, "row_bytes": 4, "destination": 253},
            CapacityError,
            "TABLE must end within the buffer of 256, not at 257",
        ),
        (
            {"target": LoadTarget.ACTIVATIONS, "row_bytes": 16, "rows": 2, "row_stride": 4088},
            CapacityError,
            "rows must end within the window of 4096 bytes, not at byte 4104",
        ),
    ],
)
def test_what_load_refuses(fields, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        load(load_command(**fields), random_window(), OnChip.cleared(CONFIG))


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"row_bytes": 6}, FieldError, "store.row_bytes must be a multiple of 4, not 6"),
        ({"row_bytes": 8, "offset": 4092}, CapacityError, "rows must end within the window of 4096 bytes, not at byte 4100"),
        (
            {"row_bytes": 8, "source": 16383},
            CapacityError,
            "rows must end within the activation buffer of 16384 words, not at 16385",
        ),
    ],
)
def test_what_store_refuses(fields, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        store(store_command(**fields), random_window(), OnChip.cleared(CONFIG))
