"""From int8 with real scales to an integer network packed for a configuration."""

from .errors import LowerError
from .lower import lower

__all__ = ["LowerError", "lower"]
