"""What can be wrong with a model or with the settings of quantization."""

from crisp.arch.errors import CrispError

__all__ = ["QuantizeError"]


class QuantizeError(CrispError):
    """A model cannot be quantized, or an option breaks a rule."""
