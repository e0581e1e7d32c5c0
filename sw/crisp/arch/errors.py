"""Typed errors. Every one names what was wrong, the rule, the value, and what to do about it."""

import traceback
from pathlib import Path

__all__ = [
    "CapacityError",
    "ConfigError",
    "CrispError",
    "FieldError",
    "LayerError",
    "OutputError",
    "PatternError",
    "ProgramError",
    "error_text",
]


class CrispError(Exception):
    """Base of every error that a user of CRISP can meet."""


class ConfigError(CrispError):
    """A hardware configuration breaks a rule."""


class FieldError(CrispError):
    """A value does not fit the field of a packed word."""


class PatternError(CrispError):
    """Weights or a sparsity pattern break the sparsity contract."""


class LayerError(CrispError):
    """A layer's parameters contradict each other or the arithmetic's limits."""


class CapacityError(CrispError):
    """A layer does not fit the on-chip buffers of a configuration."""


class ProgramError(CrispError):
    """A program, or a file of one, breaks a rule of its format."""


class OutputError(CrispError):
    """A file cannot be written."""


def error_text(error: Exception) -> str:
    """Return what is said of an error: of ours its text, of one that nobody foresaw its type and place, too."""
    if isinstance(error, CrispError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
