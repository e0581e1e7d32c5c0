"""What a network is, in five words: so that a checkpoint can say it and the same network be built again."""

import dataclasses
from collections.abc import Mapping
from typing import Self

from torch import nn

from .head import ModelError
from .registry import ARCHITECTURES, build

__all__ = ["ModelSpec", "image_shape"]

#: What a checkpoint that does not say them means; its channels are the architecture's own.
DEFAULTS = {"input_size": "224", "width": "1.0"}
#: Channels of pictures.
COLOURS = 3
#: Limits of the numbers in a checkpoint.
MAX_CLASSES, MAX_SIZE = 100_000, 10_000


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What `build` makes a network from.

    Parameters
    ----------
    architecture : str
        One of `ARCHITECTURES`.
    num_classes : int
        Outputs.
    input_size : int
        Height and width of the images.
    in_channels : int, optional
        Channels of the images; the architecture's own by default.
    width : float
        Factor of all channels.
    """

    architecture: str
    num_classes: int = 1000
    input_size: int = 224
    in_channels: int | None = None
    width: float = 1.0

    def build(self, seed: int = 0) -> nn.Module:
        """Return the untrained network, in evaluation mode.

        Raises
        ------
        ModelError
            When there can be no such network.
        """
        return build(self.architecture, self.num_classes, self.input_size, seed, in_channels=self.in_channels, width=self.width)

    def metadata(self) -> dict[str, str]:
        """Return what a checkpoint says of the network: text by name; `from_metadata` reads it."""
        channels = ARCHITECTURES[self.architecture].in_channels if self.in_channels is None else self.in_channels
        return {name: str(value) for name, value in dataclasses.asdict(dataclasses.replace(self, in_channels=channels)).items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """Read what `metadata` wrote.

        Raises
        ------
        ModelError
            When it names no known architecture, or a number is none or out of its range.
        """
        architecture = metadata.get("architecture")
        if architecture not in ARCHITECTURES:
            own = "" if architecture else "; where the network is your own, name the function that makes it"
            raise ModelError(f"architecture must be one of {', '.join(ARCHITECTURES)}, not {architecture!r}{own}")
        width = metadata.get("width", DEFAULTS["width"])
        try:
            factor = float(width)
        except ValueError:
            raise ModelError(f"width must be a number, not {width!r}") from None
        return cls(
            architecture,
            whole(metadata.get("num_classes", ""), "num_classes", 2, MAX_CLASSES),
            whole(metadata.get("input_size", DEFAULTS["input_size"]), "input_size", 1, MAX_SIZE),
            whole(metadata["in_channels"], "in_channels", 1, MAX_SIZE) if "in_channels" in metadata else None,
            factor,
        )


def image_shape(metadata: Mapping[str, str], size: int | None = None, channels: int | None = None) -> tuple[int, int]:
    """Return pixels a side and channels that pictures are made to, as `crisp.data.load_dataset` takes them.

    Parameters
    ----------
    metadata : mapping
        What a checkpoint says; nothing where there is none.
    size, channels : int, optional
        What is asked for; by default what the checkpoint's network is for, else 224 and 3.

    Raises
    ------
    ModelError
        When the metadata have a number that is none or out of its range.
    """
    known = ModelSpec.from_metadata(metadata).metadata() if metadata.get("architecture") in ARCHITECTURES else {}
    return (
        int(known.get("input_size", DEFAULTS["input_size"])) if size is None else size,
        int(known.get("in_channels", COLOURS)) if channels is None else channels,
    )


def whole(text: str, name: str, least: int, most: int) -> int:
    """Return the number that ``text`` is; raise `ModelError` when it is none from ``least`` to ``most``."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise ModelError(f"{name} must be a number from {least} to {most}, not {text!r}")
    return int(text)
