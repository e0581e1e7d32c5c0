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

    Raises
    ------
    ConfigError
        With the rule and the value, when one is broken.
    """

    rows: int = 16
    columns: int = 16
    group_size: int = 4
    drain_rows: int = 2
    column_buffer_depth: int = 2304
    weight_buffer_depth: int = 8192
    entry_buffer_depth: int = 4096
    block_row_buffer_depth: int = 128
    channel_buffer_depth: int = 2048

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
        if self.channel_buffer_depth % self.rows:
            raise ConfigError(f"channel_buffer_depth must be a multiple of rows = {self.rows}, not {self.channel_buffer_depth}")

    @property
    def macs(self) -> int:
        """Multipliers of the array: products a cycle."""
        return self.rows * self.columns

    @property
    def offset_width(self) -> int:
        """Bits of an offset: which of the ``group_size`` activations a value meets."""
        return (self.group_size - 1).bit_length()

    @property
    def bank_rows(self) -> int:
        """Rows that one drain bank takes in turn, one a cycle; the shortest tile that does not wait, in steps."""
        return self.rows // self.drain_rows

    @property
    def lane_groups(self) -> int:
        """Output streams of a drain bank: lanes share one as long as a tile has time to leave through it."""
        return -(-self.columns // self.bank_rows)

    @property
    def window_slots_max(self) -> int:
        """Largest number of windows that the column buffer keeps in flight."""
        return 64

    @property
    def output_tiles(self) -> int:
        """Tiles that may be under way between their last step and the output without holding the array back.

        A tile leaves ``rows + columns + 8`` cycles after its last step and takes another ``bank_rows`` to go through
        its output, while a new one may end every ``bank_rows`` cycles.
        """
        return -(-(self.rows + self.columns + 8) // self.bank_rows) + 2

    @property
    def on_chip_bytes(self) -> int:
        """Bytes of all buffers, registers of the array not counted."""
        column = self.columns * self.column_buffer_depth * self.group_size
        weight = -(-self.rows * self.weight_buffer_depth * (8 + self.offset_width) // 8)
        entry = 2 * (self.entry_buffer_depth + self.block_row_buffer_depth)
        channel = 8 * self.channel_buffer_depth
        output = self.rows * self.columns * self.output_tiles
        return column + weight + entry + channel + output

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
            raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, not {name!r}; a TOML file works as well")
        return cls(**PRESETS[name])

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from a mapping; ``preset`` names the preset whose values the others replace.

        Raises
        ------
        ConfigError
            When a key is unknown or a rule is broken.
        """
        values = dict(values)
        base = dataclasses.asdict(cls.preset(values.pop("preset"))) if "preset" in values else {}
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(f"{key!r} is no field of a configuration; the fields are preset, {', '.join(known)}")
        return cls(**{**base, **values})

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Load a preset by its name, or a TOML file by its path.

        Raises
        ------
        ConfigError
            When the file is missing, is not TOML, or breaks a rule; the message names the file.
        """
        if isinstance(source, str) and source in PRESETS:
            return cls.preset(source)
        path = Path(source)
        if not path.is_file():
            raise ConfigError(f"configuration {str(source)!r} is neither a preset ({', '.join(PRESETS)}) nor a file")
        try:
            return cls.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not a TOML file: {error}") from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error


#: Named configurations. ``tiny`` is for tests and proofs, ``ecp5`` fits an LFE5U-85F.
PRESETS: dict[str, dict[str, int]] = {
    "tiny": {
        "rows": 4,
        "columns": 4,
        "group_size": 4,
        "drain_rows": 1,
        "column_buffer_depth": 256,
        "weight_buffer_depth": 4096,
        "entry_buffer_depth": 512,
        "block_row_buffer_depth": 32,
        "channel_buffer_depth": 128,
    },
    "default": {},
    "ecp5": {
        "rows": 8,
        "columns": 8,
        "group_size": 4,
        "drain_rows": 1,
        "column_buffer_depth": 1024,
        "weight_buffer_depth": 4096,
        "entry_buffer_depth": 1024,
        "block_row_buffer_depth": 64,
        "channel_buffer_depth": 512,
    },
}
