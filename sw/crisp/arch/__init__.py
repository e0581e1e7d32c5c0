"""The contract between all parts: configuration, sparsity pattern, packed words, layers and errors.

Imports neither torch nor amaranth, so that compiler, golden model, gateware and driver can all build on it.
"""

from .command_stream import Command, check_commands, decode_commands
from .commands import (
    END,
    EXECUTE,
    LOAD,
    RUN,
    STORE,
    UNIT_BYTES,
    ExecuteKind,
    LoadTarget,
    MemoryWindow,
    Opcode,
    Sharing,
    Spread,
)
from .config import PRESETS, Config
from .counters import COUNTERS, IDLE_CAUSES
from .error_codes import ErrorCode
from .errors import CapacityError, ConfigError, CrispError, FieldError, LayerError, PatternError, ProgramError
from .fields import CHANNEL, COUNT, ENTRY, WORDS, Field, Word
from .layer import ProductLayer, check_capacity, layer_command
from .packing import PackedWeights, Sizes, pack, unpack
from .pattern import Pattern, check
from .program import LayerInfo, Program
from .registers import REGISTERS, register
from .tensor import Layout, TensorDescriptor

__all__ = [
    "CHANNEL",
    "COUNT",
    "COUNTERS",
    "END",
    "ENTRY",
    "EXECUTE",
    "IDLE_CAUSES",
    "LOAD",
    "PRESETS",
    "REGISTERS",
    "RUN",
    "STORE",
    "UNIT_BYTES",
    "WORDS",
    "CapacityError",
    "Command",
    "Config",
    "ConfigError",
    "CrispError",
    "ErrorCode",
    "ExecuteKind",
    "Field",
    "FieldError",
    "LayerError",
    "LayerInfo",
    "Layout",
    "LoadTarget",
    "MemoryWindow",
    "Opcode",
    "PackedWeights",
    "Pattern",
    "PatternError",
    "ProductLayer",
    "Program",
    "ProgramError",
    "Sharing",
    "Sizes",
    "Spread",
    "TensorDescriptor",
    "Word",
    "check",
    "check_capacity",
    "check_commands",
    "decode_commands",
    "layer_command",
    "pack",
    "register",
    "unpack",
]
