"""How far a method has to prune: to a sparsity, to a share of the dense network's cycles, or to what a uniform pattern costs."""

import dataclasses
import enum

from crisp.prune import PruneOptions

__all__ = ["Level", "LevelKind"]


class LevelKind(enum.Enum):
    """What a level counts."""

    SPARSITY = "sparsity"  #: share of the pruned layers' weights that goes
    CYCLES = "cycles"  #: predicted cycles, as a share of the dense network's
    UNIFORM = "cycles-of"  #: predicted cycles of the uniform pattern of this sparsity: where methods meet at equal cycles


@dataclasses.dataclass(frozen=True)
class Level:
    """How far a method has to prune.

    Parameters
    ----------
    kind : LevelKind
        What counts.
    value : float
        Sparsity, 0 to 1 without 1, or share of cycles, above 0 and at most 1.
    """

    kind: LevelKind
    value: float

    def __str__(self) -> str:
        return f"{self.kind.value}-{self.value:g}"

    def apply(self, options: PruneOptions, cycles: float | None = None) -> PruneOptions:
        """Return the options that prune so far.

        Parameters
        ----------
        options : PruneOptions
            All other settings.
        cycles : float, optional
            Of a level of uniform patterns: share of the dense network's cycles that such a pattern takes.
        """
        if self.kind is LevelKind.SPARSITY:
            return dataclasses.replace(options, sparsity=self.value, cycles=None)
        share = self.value if self.kind is LevelKind.CYCLES else cycles
        return dataclasses.replace(options, sparsity=0.0, cycles=share)
