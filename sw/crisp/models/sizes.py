"""Sizes of the images that a network is for."""

from .head import ModelError

__all__ = ["check_size", "is_small"]

#: Images of fewer pixels a side are small: networks look at them without halving them at once.
SMALL_BELOW = 64


def is_small(input_size: int) -> bool:
    """Tell whether images of ``input_size`` pixels a side are small."""
    return input_size < SMALL_BELOW


def check_size(input_size: int, multiple: int) -> None:
    """Check that the image can be halved as often as the network does.

    Raises
    ------
    ModelError
        When ``input_size`` is no multiple of ``multiple``.
    """
    if input_size < 1 or input_size % multiple:
        raise ModelError(f"input_size must be a multiple of {multiple}, not {input_size}")
