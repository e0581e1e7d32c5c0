"""What int8 values mean: scale and zero point.

Asymmetric int8: ``real = scale * (integer - zero_point)``, integer in -128..127, and 0 is represented exactly, since padding and ReLU
need it. Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
arXiv 1712.05877, section 2.
"""

import dataclasses

import numpy as np

from .activations import Clamp

__all__ = ["Affine", "affine"]


@dataclasses.dataclass(frozen=True)
class Affine:
    """Meaning of the int8 values of a tensor: ``real = scale * (integer - zero_point)``."""

    scale: float
    zero_point: int

    def levels(self, clamp: Clamp) -> tuple[int, int]:
        """Return the smallest and the largest int8 value within ``clamp``."""
        low, high = (np.clip(np.rint(limit / self.scale) + self.zero_point, -128, 127) for limit in (clamp.low, clamp.high))
        return int(low), int(high)


def affine(low: float, high: float) -> Affine:
    """Return the scale, a float32 as ONNX has it, and zero point that map ``low`` to ``high``, widened to hold 0, to -128..127.

    No scale is smaller than the least normal float32, below which scales have too few bits to represent a range.
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if not np.float32(high - low) > 0:
        return Affine(1.0, 0)
    scale = float(max(np.float32((high - low) / 255), np.finfo(np.float32).tiny))
    return Affine(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))
