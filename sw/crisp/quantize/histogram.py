"""Ranges that clip where clipping costs less than the finer steps gain: the least mean squared error over a histogram.

A range ``low..high`` of int8 has steps of ``(high - low) / 255``. A wide one rounds coarsely, a narrow one clips; between lies the least
``E = sum_b count_b (Q(x_b) - x_b)^2`` over the bins b of a histogram of calibration values, Q being quantization and back. Sources: W. Sung
et al., "Resiliency of Deep Neural Networks under Quantization", arXiv 1511.06488 (least L2 error); R. Banner et al., arXiv 1810.05723
(rounding against clipping); M. Nagel et al., "A White Paper on Neural Network Quantization", arXiv 2106.08295, section 3.1.
"""

import math

import numpy as np

from .affine import Affine, affine

__all__ = ["Histogram"]

#: Least normal float32.
LEAST = 2.0**-126


class Histogram:
    """Counts the values of a tensor, batch after batch, in as much memory as at the beginning.

    Bins are equally wide, a power of two, and 0 lies between two of them. When a value lies outside, bins become twice as wide and
    merge in pairs, which is exact: the counts do not depend on how values are cut into batches.

    Parameters
    ----------
    bins : int
        Bins on each side of 0, even. The side of the largest magnitude fills at least half of its bins.
    ratios : int
        Each side of a range is tried at 1/ratios, 2/ratios, ... of the largest value there.
    """

    def __init__(self, bins: int = 2048, ratios: int = 64) -> None:
        self.bins, self.ratios = bins, ratios
        self.counts = np.zeros(2 * bins, np.int64)
        self.width = 0.0
        self.low, self.high = math.inf, -math.inf

    def add(self, values: np.ndarray) -> None:
        """Count float32 values; where one is not finite, the range is not either."""
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(-low, high)
        if not math.isfinite(largest):
            return
        if largest >= self.width * self.bins:
            self.widen(largest)
        index = np.floor(values.ravel() * np.float64(1 / self.width)).astype(np.int64) + self.bins
        self.counts += np.bincount(index, minlength=2 * self.bins)

    def widen(self, largest: float) -> None:
        """Make bins so wide that ``largest`` lies in one."""
        _, exponent = math.frexp(max(largest, LEAST))  # largest < 2 ** exponent
        wanted = 2.0**exponent / self.bins
        while 0 < self.width < wanted and self.counts.any():
            quarter = self.bins // 2
            self.counts = np.pad(self.counts.reshape(-1, 2).sum(axis=1), (quarter, quarter))
            self.width *= 2
        self.width = wanted

    def range(self) -> tuple[float, float]:
        """Return the low and the high limit of the least error, one side after the other until neither moves.

        The error is nearly convex in both: rounding is quadratic in their distance, clipping convex in each. So they meet at its minimum.
        """
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return self.low, self.high
        filled = np.flatnonzero(self.counts)
        values, counts = (filled - self.bins + 0.5) * self.width, self.counts[filled].astype(np.float64)
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        ratios = np.arange(self.ratios, 0, -1) / self.ratios
        best = (low, high)
        for _ in range(self.ratios):
            before = best
            if high > 0:
                best = min(((best[0], high * ratio) for ratio in ratios), key=lambda limits: error(affine(*limits), values, counts))
            if low < 0:
                best = min(((low * ratio, best[1]) for ratio in ratios), key=lambda limits: error(affine(*limits), values, counts))
            if best == before:
                break
        return float(best[0]), float(best[1])


def error(meaning: Affine, values: np.ndarray, counts: np.ndarray) -> float:
    """Return the sum of squared errors of ``values``, of which there are ``counts``, as int8 of this meaning."""
    reals = np.rint(values / meaning.scale)
    np.clip(reals, -128 - meaning.zero_point, 127 - meaning.zero_point, out=reals)
    reals *= meaning.scale
    reals -= values
    return float(np.square(reals, out=reals) @ counts)
