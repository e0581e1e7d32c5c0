"""What can be wrong between a quantized model and the integer network."""

from crisp.arch.errors import CrispError

__all__ = ["LowerError"]


class LowerError(CrispError):
    """A quantized model cannot be turned into an integer network for a configuration."""
