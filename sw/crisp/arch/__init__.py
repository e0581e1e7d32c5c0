"""The contract between all parts: configuration, sparsity pattern, packed words, layers and errors.

Imports neither torch nor amaranth, so that compiler, golden model, gateware and driver can all build on it.
"""

from .config import PRESETS, Config
from .counters import COUNTERS, IDLE_CAUSES
from .errors import CapacityError, ConfigError, CrispError, FieldError, LayerError, PatternError
from .fields import CHANNEL, COUNT, ENTRY, LAYER, WORDS, Field, Word
from .layer import ProductLayer, check_capacity, layer_command
from .packing import PackedWeights, Sizes, pack, unpack
from .pattern import Pattern, check

__all__ = [
    "CHANNEL",
    "COUNT",
    "COUNTERS",
    "ENTRY",
    "IDLE_CAUSES",
    "LAYER",
    "PRESETS",
    "WORDS",
    "CapacityError",
    "Config",
    "ConfigError",
    "CrispError",
    "Field",
    "FieldError",
    "LayerError",
    "PackedWeights",
    "Pattern",
    "PatternError",
    "ProductLayer",
    "Sizes",
    "Word",
    "check",
    "check_capacity",
    "layer_command",
    "pack",
    "unpack",
]
