"""Sizes: of the images that a network is for, and of its layers when a factor makes it wider or narrower."""

from .head import ModelError

__all__ = ["check_size", "is_small", "round_channels", "scale_channels"]

#: Images of fewer pixels a side are small: networks look at them without halving them at once.
SMALL_BELOW = 64


def is_small(input_size: int) -> bool:
    """Tell whether images of ``input_size`` pixels a side are small."""
    return input_size < SMALL_BELOW


def check_size(input_size: int, multiple: int = 1) -> None:
    """Check that there is an image, and that it can be halved as often as the network does.

    Raises
    ------
    ModelError
        When ``input_size`` is less than 1 or no multiple of ``multiple``.
    """
    if input_size < 1 or input_size % multiple:
        rule = "at least 1" if multiple == 1 else f"a multiple of {multiple}"
        raise ModelError(f"input_size must be {rule}, not {input_size}")


def round_channels(channels: float) -> int:
    """Return the multiple of 8 that is nearest to ``channels``, but not less than nine tenths of it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def scale_channels(channels: int, width: float) -> int:
    """Return ``channels`` times ``width``, rounded as `round_channels` does; at width 1 exactly ``channels``."""
    return channels if width == 1 else round_channels(channels * width)
