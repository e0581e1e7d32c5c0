"""What can be wrong between a model and the program for the machine."""

from crisp.arch.errors import CrispError

__all__ = ["CompileError"]


class CompileError(CrispError):
    """A model cannot be compiled: it is damaged, too large, or has operations that the machine does not have."""
