import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from crisp.arch import PRESETS, Config, ConfigError

FIELDS = [field.name for field in dataclasses.fields(Config)]


def raises(message: str):
    """Expect a `ConfigError` with exactly this message."""
    return pytest.raises(ConfigError, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name: str) -> None:
    config = Config.preset(name)
    assert config == Config.load(name) == Config.from_dict({"preset": name})
    assert config.channel_buffer_depth % config.rows == 0


def test_preset_sizes() -> None:
    tiny, default, ecp5 = (Config.preset(name) for name in ("tiny", "default", "ecp5"))
    assert (tiny.macs, default.macs, ecp5.macs) == (16, 256, 64)
    assert default == Config()
    assert default.on_chip_bytes <= 2**20
    assert ecp5.on_chip_bytes <= 208 * 18_432 // 8  # block RAM of an LFE5U-85F: 208 of 18 kbit


def test_what_follows_from_the_fields() -> None:
    config = Config(rows=16, columns=14, group_size=8, drain_rows=2)
    assert config.macs == 224
    assert config.offset_width == 3
    assert config.bank_rows == 8
    assert config.banks == 16
    assert config.tile_words == 2
    assert config.beat_bytes == 16
    assert config.activation_words == 16 * 10240
    # A tile leaves 39 cycles after its last step, which is five times the time of a tile, and goes out in one more.
    assert config.output_tiles == 7
    activation, column, weight = 16 * 10240 * 8, 14 * 2304 * 8, 9216 * 16 * (8 + 3) // 8
    entry, channel, table = 2 * (4096 + 512), 8 * (2048 + 2048), 256 * 14 * 2
    assert config.on_chip_bytes == activation + column + weight + entry + channel + table + 16 * 14 * config.output_tiles


def test_clusters_have_buffers_of_their_own() -> None:
    one, two, four = (Config(clusters=clusters) for clusters in (1, 2, 4))
    assert (two.macs, four.macs) == (2 * one.macs, 4 * one.macs)
    column, weight = 16 * 2304 * 4, 9216 * 16 * (8 + 2) // 8
    entry, channel, output = 2 * (4096 + 512), 8 * 2048, 16 * 16 * one.output_tiles
    more = column + weight + entry + channel + output
    # Results of several clusters are finished side by side, up to a word, and looked up side by side.
    assert two.on_chip_bytes - one.on_chip_bytes == more + 256 * 16 * 2
    assert four.on_chip_bytes - two.on_chip_bytes == 2 * more
    assert [Config.preset(name).clusters for name in ("duo", "quad")] == [2, 4]
    assert Config.preset("duo").on_chip_bytes <= 3 * 2**19


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [0, -1, 1.0, "16", True, None])
def test_every_field_is_a_positive_integer(name: str, value: object) -> None:
    with raises(f"{name} must be a positive integer, not {value!r}"):
        Config(**{name: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": 12}, "rows must be a power of two, so that it divides every block size, not 12"),
        ({"group_size": 1}, "group_size must be one of 2, 4, 8, 16, not 1"),
        ({"group_size": 6}, "group_size must be one of 2, 4, 8, 16, not 6"),
        ({"group_size": 32}, "group_size must be one of 2, 4, 8, 16, not 32"),
        ({"drain_rows": 3}, "drain_rows must be a power of two that divides rows = 16, not 3"),
        ({"drain_rows": 32}, "drain_rows must be a power of two that divides rows = 16, not 32"),
        ({"group_size": 16}, "rows / drain_rows must be at least group_size = 16, so that a drain bank fills whole words, not 8"),
        ({"clusters": 3}, "clusters must be one of 1, 2, 4, 8, not 3"),
        ({"clusters": 16}, "clusters must be one of 1, 2, 4, 8, not 16"),
        ({"axi_data_width": 48}, "axi_data_width must be one of 32, 64, 128, 256, 512, not 48"),
        ({"column_buffer_depth": 8193}, "column_buffer_depth must not exceed 8192, which commands can address, not 8193"),
        (
            {"activation_buffer_depth": 2**18 + 1},
            "activation_buffer_depth x 16 banks must not exceed 4194304 words, which commands can address, not 4194320",
        ),
        ({"channel_buffer_depth": 2040}, "channel_buffer_depth must be a multiple of rows = 16, not 2040"),
    ],
)
def test_rules(values: dict[str, int], message: str) -> None:
    with raises(message):
        Config(**values)


def test_columns_need_not_be_a_power_of_two() -> None:
    assert Config(columns=14).macs == 224


def test_fields_cannot_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().rows = 8


def test_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('preset = "ecp5"  # 8 x 8\ncolumns = 14\nweight_buffer_depth = 2048\n')
    assert Config.load(path) == Config.load(str(path)) == dataclasses.replace(Config.preset("ecp5"), columns=14, weight_buffer_depth=2048)
    path.write_text("rows = 8\n")
    assert Config.load(path) == Config(rows=8)
    path.write_text("")
    assert Config.load(path) == Config()


def test_json_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"preset": "ecp5", "columns": 14}\n')
    assert Config.load(path) == Config.load(str(path)) == dataclasses.replace(Config.preset("ecp5"), columns=14)
    for config in (Config.preset("tiny"), Config()):  # as a record has it
        path.write_text(json.dumps(dataclasses.asdict(config)))
        assert Config.load(path) == config


def test_json_files_that_are_refused_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"row": 8}')
    with raises(f"{path}: 'row' is no field of a configuration; the fields are preset, {', '.join(FIELDS)}"):
        Config.load(path)
    path.write_text('{"rows": 8.0}')
    with raises(f"{path}: rows must be a positive integer, not 8.0"):
        Config.load(path)
    for content, shown in (("[8]", "[8]"), ('"tiny"', "'tiny'"), ("null", "None")):
        path.write_text(content)
        with raises(f"{path}: a configuration must be fields by name, such as rows = 8, not {shown}"):
            Config.load(path)
    for content in (b"rows = 8\n", b"", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: not a JSON file: "):
            Config.load(path)


def test_files_that_are_refused_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("row = 8\n")
    with raises(f"{path}: 'row' is no field of a configuration; the fields are preset, {', '.join(FIELDS)}"):
        Config.load(path)
    path.write_text("rows = 12\n")
    with raises(f"{path}: rows must be a power of two, so that it divides every block size, not 12"):
        Config.load(path)
    for preset, shown in (('"huge"', "'huge'"), ("[1]", "[1]")):
        path.write_text(f"preset = {preset}\n")
        with raises(f"{path}: preset must be one of tiny, default, duo, quad, edge, ecp5, not {shown}; a TOML or JSON file works as well"):
            Config.load(path)
    for content in (b"rows: 8\n", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: not a TOML file: "):
            Config.load(path)
    for missing in (tmp_path / "none.toml", tmp_path):
        with raises(f"configuration {str(missing)!r} is neither a preset (tiny, default, duo, quad, edge, ecp5) nor a file"):
            Config.load(missing)


def test_unknown_preset() -> None:
    with raises("preset must be one of tiny, default, duo, quad, edge, ecp5, not 'huge'; a TOML or JSON file works as well"):
        Config.preset("huge")


def test_digest_differs_for_each_field() -> None:
    half = dataclasses.replace(Config(), drain_rows=1)
    larger = {name: 2 * getattr(half, name) for name in FIELDS}
    digests = [half.digest, *(dataclasses.replace(half, **{name: value}).digest for name, value in larger.items())]
    assert len(set(digests)) == len(FIELDS) + 1
    assert all(0 <= digest < 2**32 for digest in digests)


def test_digest_is_the_same_in_another_process() -> None:
    code = "from crisp.arch import PRESETS, Config; print([Config.preset(name).digest for name in PRESETS])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
    assert output.strip() == str([Config.preset(name).digest for name in PRESETS])
