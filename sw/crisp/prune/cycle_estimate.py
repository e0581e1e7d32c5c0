"""An estimate of a network's cycles from the steps of its layers, for searches that ask thousands of times.

A layer's cycles are nearly a function of its steps alone: for every pixel tile and row tile the steps, or as many cycles as a tile needs to
leave the array, or to gather its windows, or to load its weights, where that is more; and some at its begin and end. Those functions are
not written down again here, where they would only drift from the compiler's. The compiler is asked at some densities, and straight lines
are drawn between. What is not in a pruned layer is a constant.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from crisp.arch import Pattern
from crisp.compile.compile import Compilation

__all__ = ["CycleEstimate", "Point", "layer_cycles", "random_pattern"]


@dataclasses.dataclass(frozen=True)
class Point:
    """What the compiler said of one density.

    Parameters
    ----------
    steps : dict
        By layer: steps of a row tile.
    cycles : dict
        By layer: predicted cycles.
    total : int
        Predicted cycles of the network.
    """

    steps: dict[str, float]
    cycles: dict[str, int]
    total: int


class CycleEstimate:
    """Estimates the cycles of a network: a constant, and for every layer a function of its steps made of straight lines.

    Parameters
    ----------
    points : sequence of Point
        At least one, each with the same layers.
    dense : mapping
        By layer: its steps when it is dense.

    Attributes
    ----------
    curves : dict
        By layer: steps, ascending, and the cycles at each.
    """

    def __init__(self, points: Sequence[Point], dense: Mapping[str, float]) -> None:
        self.steady = float(np.mean([point.total - sum(point.cycles.values()) for point in points]))
        self.dense = dict(dense)
        self.curves: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name in dense:
            found: dict[float, list[int]] = {}
            for point in points:
                found.setdefault(point.steps[name], []).append(point.cycles[name])
            steps = np.array(sorted(found))
            self.curves[name] = steps, np.array([np.mean(found[step]) for step in steps])

    def __call__(self, steps: Mapping[str, float]) -> float:
        """Return the estimated cycles of the network.

        Parameters
        ----------
        steps : mapping
            By layer: steps of a row tile, the largest of all block rows (`Pattern.row_steps`). Other layers are dense.
        """
        return self.steady + sum(float(self.layer(name, np.array(steps.get(name, dense)))) for name, dense in self.dense.items())

    def layer(self, name: str, steps: np.ndarray) -> np.ndarray:
        """Return the estimated cycles of a layer at each of ``steps``."""
        return np.interp(steps, *self.curves[name])


def layer_cycles(compilation: Compilation, names: Mapping[str, object]) -> dict[str, int]:
    """Return the predicted cycles of layers, each with what is fused into it."""
    cycles = {layer.name: layer.predicted_cycles for layer in compilation.program.layers}
    titles = {operator.layer.name: operator.report_name for operator in compilation.plan.operators if operator.layer is not None}
    return {name: cycles[titles[name]] for name in names}


def random_pattern(dense: Pattern, share: float, n: int, random: np.random.Generator) -> Pattern:
    """Return a pattern with N = ``n`` in a share of the blocks of every block row, at least one, at random places."""
    count = max(1, round(share * dense.block_columns))
    kept = random.random(dense.n.shape).argsort(axis=1) < count
    return Pattern.from_kept(kept, dense.shape, dense.block, dense.group, n)
