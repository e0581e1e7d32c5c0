"""Pixels as a network's input: each channel's mean taken away, then divided by its deviation."""

import dataclasses
import json

import numpy as np

__all__ = ["COLOURS", "FASHION", "IMAGENET", "PIXEL_MEAN", "PIXEL_SCALE", "Normalization", "measure", "normalize"]

#: Mean and deviation of Fashion-MNIST's training pixels (72.94 and 90.02), rounded to whole pixel values: so int8 with scale
#: 1/90 and zero point -55 represents every normalised pixel exactly, as ``pixel - 128``, and input quantization loses nothing.
PIXEL_MEAN = 73
PIXEL_SCALE = 90


@dataclasses.dataclass(frozen=True)
class Normalization:
    """``(pixel - mean) / deviation``, each channel with its own.

    Parameters
    ----------
    mean, deviation : tuple of float
        In pixel values, 0 to 255; as many as images have channels. One of them does for all channels.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Turn uint8 images [N, H, W] or [N, H, W, C] into a network's input, float32 [N, 1, H, W] or [N, C, H, W]."""
        mean, deviation = (np.array(values, np.float32) for values in (self.mean, self.deviation))
        if images.ndim == 3:
            return ((images.astype(np.float32) - mean[0]) / deviation[0])[:, None]
        return np.ascontiguousarray(((images.astype(np.float32) - mean) / deviation).transpose(0, 3, 1, 2))

    @property
    def is_exact(self) -> bool:
        """Whether int8 with one scale holds every normalised pixel exactly: one whole mean and one deviation for all channels."""
        return len({*self.mean}) == len({*self.deviation}) == 1 and float(self.mean[0]).is_integer()

    def to_json(self) -> str:
        """Return what a checkpoint's metadata say."""
        return json.dumps(dataclasses.asdict(self))


FASHION = Normalization((PIXEL_MEAN,), (PIXEL_SCALE,))
#: Colours as EfficientNet-Lite0's authors have them, which int8 holds exactly, as ``colour - 128``.
COLOURS = Normalization((127,), (128,))
#: ImageNet, as torchvision's networks were trained: 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225 of 255.
IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def measure(images: np.ndarray) -> Normalization:
    """Return each channel's mean and deviation over uint8 images [N, H, W] or [N, H, W, C], rounded to whole pixel values, at least 1."""
    channels = images[..., None] if images.ndim == 3 else images
    means, deviations = [], []
    for channel in range(channels.shape[3]):
        counts = sum(
            (np.bincount(channels[start : start + 1024, ..., channel].ravel(), minlength=256) for start in range(0, len(images), 1024)),
            start=np.zeros(256, np.int64),
        )
        share = counts / max(int(counts.sum()), 1)
        mean = float(share @ np.arange(256))
        means.append(float(round(mean)))
        deviations.append(float(max(1, round(float(np.sqrt(share @ (np.arange(256) - mean) ** 2))))))
    return Normalization(tuple(means), tuple(deviations))


def normalize(images: np.ndarray) -> np.ndarray:
    """Turn uint8 images [N, H, W] into a network's float32 input [N, 1, H, W] as Fashion-MNIST is: ``(pixel - 73) / 90``."""
    return FASHION.normalize(images)
