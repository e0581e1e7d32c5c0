"""Which images a training step sees, and what is random in it: a pure function of seed and step, so that a run can go on anywhere."""

import dataclasses
import enum

import numpy as np

from crisp.data import Images

from .errors import PruneError

__all__ = ["Draw", "Steps", "random_for"]


class Draw(enum.IntEnum):
    """What is drawn: each has random numbers of its own."""

    ORDER = 1  #: the order of an epoch's images
    AUGMENTATION = 2  #: the changes of a micro-batch's images
    DROPOUT = 3  #: what a network draws while it learns
    SALIENCY = 4  #: the images that an iteration measures saliency on
    SELECTION = 5  #: what an iteration's selector draws


def random_for(draw: Draw, seed: int, *place: int) -> np.random.Generator:
    """Return the generator of ``draw`` at ``place``: an epoch, an iteration, or a step and its micro-batch."""
    return np.random.default_rng([draw, seed, *(number + 1 for number in place)])  # + 1: zeros at the end would not count


@dataclasses.dataclass
class Steps:
    """Batches of shuffled images, cut into micro-batches.

    Parameters
    ----------
    images : Images
        Images to learn from.
    batch, microbatch : int
        Images of a step and of each of its micro-batches, which are equal.
    seed : int
        Source of order and augmentation.

    Raises
    ------
    PruneError
        When there are fewer images than a batch has.
    """

    images: Images
    batch: int
    microbatch: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.images) < self.batch:
            raise PruneError(f"batch must be at most the {len(self.images)} training images of the classes, not {self.batch}")
        self.epoch, self.order = -1, np.zeros(0, np.int64)

    @property
    def microbatches(self) -> int:
        """Micro-batches of a step."""
        return self.batch // self.microbatch

    def draw(self, step: int, part: int) -> Images:
        """Return micro-batch ``part`` of ``step``; an epoch is as many whole batches as there are images for."""
        epoch, place = divmod(step, len(self.images) // self.batch)
        if epoch != self.epoch:
            self.epoch, self.order = epoch, random_for(Draw.ORDER, self.seed, epoch).permutation(len(self.images))
        start = place * self.batch + part * self.microbatch
        return self.images.take(self.order[start : start + self.microbatch])

    def inputs(self, step: int, part: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs, float32 [N, C, H, W], augmented, and labels, int64 [N], of a micro-batch."""
        images = self.draw(step, part)
        return images.inputs(random_for(Draw.AUGMENTATION, self.seed, step, part)), images.labels

    def measured(self, iteration: int, count: int) -> list[Images]:
        """Return micro-batches of at least ``count`` images, as far as there are so many, to measure saliency on in ``iteration``."""
        order = random_for(Draw.SALIENCY, self.seed, iteration).permutation(len(self.images))
        parts = min(-(-count // self.microbatch), len(self.images) // self.microbatch)
        return [self.images.take(order[part * self.microbatch : (part + 1) * self.microbatch]) for part in range(parts)]
