"""The hardware configuration: one small frozen object that compiler, golden model, RTL and driver share."""

import dataclasses
import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, Self

from .errors import ConfigError

__all__ = ["PRESETS", "Config"]

#: Widest group that a 4-bit N field and the operand select are built for.
MAX_GROUP_SIZE = 16


#: Widths of the memory bus, in bits.
AXI_DATA_WIDTHS = (32, 64, 128, 256, 512)

#: Numbers of clusters: powers of two, so that which one a tile belongs to is some bits of its number.
CLUSTERS = (1, 2, 4, 8)

#: Bits of the fields of a command that address a buffer, see ``commands``.
ADDRESS_WIDTHS = {
    "column_buffer_depth": 13,
    "weight_buffer_depth": 16,
    "entry_buffer_depth": 14,
    "block_row_buffer_depth": 12,
    "channel_buffer_depth": 14,
    "run_buffer_depth": 14,
}

#: Bits of an address of the activation buffer, in words.
ACTIVATION_ADDRESS_WIDTH = 22


def is_power_of_two(value: int) -> bool:
    """Tell whether ``value`` is 1, 2, 4, 8, ..."""
    return value > 0 and value & (value - 1) == 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Size of a CRISP accelerator.

    Nothing that follows from these numbers is a number here: widths and depths are derived where they are used.

    Parameters
    ----------
    rows : int
        Rows of the array, which are output channels. A power of two, so that it divides every block size.
    columns : int
        Columns of the array, which are output pixels. Any number; 14 fits ImageNet's maps of 7 x 2^k almost without loss.
    group_size : int
        M of the N:M pattern: neighbouring entries of K that share one word of memory. 2, 4, 8 or 16.
    drain_rows : int
        Rows of a finished tile that leave the array in a cycle (k). A power of two that divides ``rows``. A tile shorter
        than ``rows / drain_rows`` steps waits for the tile before it.
    activation_buffer_depth : int
        Words of one bank of the activation buffer, each ``group_size`` bytes. There are as many banks as columns, rounded up to a
        power of two.
    column_buffer_depth : int
        Words of one lane of the column buffer, each ``group_size`` bytes; all windows in flight share them.
    weight_buffer_depth : int
        Steps of packed weights.
    entry_buffer_depth : int
        Block entries, each one kept block.
    block_row_buffer_depth : int
        Block rows whose count of kept blocks is held.
    channel_buffer_depth : int
        Output channels whose bias and scale are held. A multiple of ``rows``.
    run_buffer_depth : int
        Runs of words that windows are gathered from.
    axi_data_width : int
        Bits of the memory bus: 32, 64, 128, 256 or 512.
    clusters : int
        Arrays that share out the tiles of an EXECUTE: 1, 2, 4 or 8. Each has column, weight, entry, block row and channel buffers of its
        own, of the depths above; the others are shared.

    Raises
    ------
    ConfigError
        With the rule and the value, when one is broken.
    """

    rows: int = 16
    columns: int = 16
    group_size: int = 4
    drain_rows: int = 2
    activation_buffer_depth: int = 10240
    column_buffer_depth: int = 2304
    weight_buffer_depth: int = 9216
    entry_buffer_depth: int = 4096
    block_row_buffer_depth: int = 512
    channel_buffer_depth: int = 2048
    run_buffer_depth: int = 2048
    axi_data_width: int = 128
    clusters: int = 1

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{field.name} must be a positive integer, not {value!r}")
        if not is_power_of_two(self.rows):
            raise ConfigError(f"rows must be a power of two, so that it divides every block size, not {self.rows}")
        if not is_power_of_two(self.group_size) or not 2 <= self.group_size <= MAX_GROUP_SIZE:
            raise ConfigError(f"group_size must be one of 2, 4, 8, 16, not {self.group_size}")
        if not is_power_of_two(self.drain_rows) or self.drain_rows > self.rows:
            raise ConfigError(f"drain_rows must be a power of two that divides rows = {self.rows}, not {self.drain_rows}")
        if self.axi_data_width not in AXI_DATA_WIDTHS:
            raise ConfigError(f"axi_data_width must be one of {', '.join(map(str, AXI_DATA_WIDTHS))}, not {self.axi_data_width}")
        if self.clusters not in CLUSTERS:
            raise ConfigError(f"clusters must be one of {', '.join(map(str, CLUSTERS))}, not {self.clusters}")
        for name, width in ADDRESS_WIDTHS.items():
            if getattr(self, name) > 1 << width:
                raise ConfigError(f"{name} must not exceed {1 << width}, which commands can address, not {getattr(self, name)}")
        if self.activation_words > 1 << ACTIVATION_ADDRESS_WIDTH:
            raise ConfigError(
                f"activation_buffer_depth x {self.banks} banks must not exceed {1 << ACTIVATION_ADDRESS_WIDTH} words, which commands can "
                f"address, not {self.activation_words}"
            )
        if self.bank_rows < self.group_size:
            raise ConfigError(
                f"rows / drain_rows must be at least group_size = {self.group_size}, so that a drain bank fills whole words, "
                f"not {self.bank_rows}"
            )
        if self.channel_buffer_depth % self.rows:
            raise ConfigError(f"channel_buffer_depth must be a multiple of rows = {self.rows}, not {self.channel_buffer_depth}")

    @property
    def macs(self) -> int:
        """Multipliers of all arrays: products a cycle."""
        return self.rows * self.columns * self.clusters

    @property
    def offset_width(self) -> int:
        """Bits of an offset: which of the ``group_size`` activations a value meets."""
        return (self.group_size - 1).bit_length()

    @property
    def banks(self) -> int:
        """Banks of the activation buffer: columns, rounded up to a power of two."""
        return 1 << (self.columns - 1).bit_length()

    @property
    def activation_words(self) -> int:
        """Words of the activation buffer, all banks."""
        return self.banks * self.activation_buffer_depth

    @property
    def tile_words(self) -> int:
        """Words of M channels that one pixel of a tile of results has: rows / M, at least 1."""
        return max(1, self.rows // self.group_size)

    @property
    def beat_bytes(self) -> int:
        """Bytes of one transfer on the memory bus."""
        return self.axi_data_width // 8

    @property
    def bank_rows(self) -> int:
        """Rows that one drain bank takes in turn, one a cycle; the shortest tile that does not wait, in steps."""
        return self.rows // self.drain_rows

    @property
    def result_bytes(self) -> int:
        """Bytes of each lane's results that are finished in a cycle: as many as leave the arrays, at most a word."""
        return min(self.drain_rows * self.clusters, self.group_size)

    @property
    def output_tiles(self) -> int:
        """Tiles that may be under way between their last step and the output without holding the array back.

        A tile leaves ``rows + columns + 9`` cycles after its last step and takes another ``bank_rows`` to go through
        its output, while a new one may end every ``bank_rows`` cycles.
        """
        return -(-(self.rows + self.columns + 9) // self.bank_rows) + 2

    @property
    def on_chip_bytes(self) -> int:
        """Bytes of all buffers, registers of the array not counted."""
        column = self.columns * self.column_buffer_depth * self.group_size
        weight = -(-self.rows * self.weight_buffer_depth * (8 + self.offset_width) // 8)
        entry = 2 * (self.entry_buffer_depth + self.block_row_buffer_depth)
        channel = 8 * self.channel_buffer_depth
        output = self.rows * self.columns * self.output_tiles
        cluster = column + weight + entry + channel + output
        run = 8 * self.run_buffer_depth
        table = 256 * self.columns * self.result_bytes
        return self.activation_words * self.group_size + self.clusters * cluster + run + table

    @property
    def digest(self) -> int:
        """Hash of the configuration, 32 bits: programs and RTL carry it, and one refuses the other when it differs."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")

    @classmethod
    def preset(cls, name: str) -> Self:
        """Return the preset ``name``.

        Raises
        ------
        ConfigError
            When there is no such preset.
        """
        if not isinstance(name, str) or name not in PRESETS:
            raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, not {name!r}; a TOML or JSON file works as well")
        return cls(**PRESETS[name])

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from a mapping; ``preset`` names the preset whose values the others replace.

        Raises
        ------
        ConfigError
            When it is no mapping, a key is unknown or a rule is broken.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"a configuration must be fields by name, such as rows = 8, not {values!r}")
        values = dict(values)
        base = dataclasses.asdict(cls.preset(values.pop("preset"))) if "preset" in values else {}
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(f"{key!r} is no field of a configuration; the fields are preset, {', '.join(known)}")
        return cls(**{**base, **values})

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Load a preset by its name, or a TOML or JSON file by its path; one that ends in ``.json`` is JSON.

        Raises
        ------
        ConfigError
            When the file is missing, is neither, or breaks a rule; the message names the file.
        """
        if isinstance(source, str) and source in PRESETS:
            return cls.preset(source)
        path = Path(source)
        if not path.is_file():
            raise ConfigError(f"configuration {str(source)!r} is neither a preset ({', '.join(PRESETS)}) nor a file")
        form, read = ("JSON", json.loads) if path.suffix == ".json" else ("TOML", tomllib.loads)
        try:
            return cls.from_dict(read(path.read_text(encoding="utf-8")))
        except ValueError as error:  # of either form, or no UTF-8
            raise ConfigError(f"{path}: not a {form} file: {error}") from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error


#: Named configurations. ``tiny`` is for tests and proofs, ``default`` has at most 1 MiB on chip, ``edge`` 256 KiB, ``ecp5`` is for an
#: LFE5U-85F; ``duo`` and ``quad`` are ``default`` with two and four clusters.
PRESETS: dict[str, dict[str, int]] = {
    "tiny": {
        "rows": 4,
        "columns": 4,
        "group_size": 4,
        "drain_rows": 1,
        "activation_buffer_depth": 4096,
        "column_buffer_depth": 256,
        "weight_buffer_depth": 2048,
        "entry_buffer_depth": 512,
        "block_row_buffer_depth": 32,
        "channel_buffer_depth": 128,
        "run_buffer_depth": 256,
        "axi_data_width": 32,
    },
    "default": {},
    "duo": {"clusters": 2},
    "quad": {"clusters": 4},
    "edge": {
        "activation_buffer_depth": 1024,
        "column_buffer_depth": 1216,
        "weight_buffer_depth": 4864,
        "entry_buffer_depth": 1024,
        "block_row_buffer_depth": 128,
        "channel_buffer_depth": 512,
        "run_buffer_depth": 512,
    },
    "ecp5": {
        "rows": 8,
        "columns": 8,
        "group_size": 4,
        "drain_rows": 1,
        "activation_buffer_depth": 2048,
        "column_buffer_depth": 1024,
        "weight_buffer_depth": 4096,
        "entry_buffer_depth": 1024,
        "block_row_buffer_depth": 64,
        "channel_buffer_depth": 512,
        "run_buffer_depth": 512,
        "axi_data_width": 64,
    },
}
