"""Records of a network that ran dense and sparse on the same machine."""

import dataclasses
from typing import Any

__all__ = ["Comparison", "LayerRecord"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerRecord:
    """One layer, run with all its weights and with the pruned ones.

    Parameters
    ----------
    name : str
        Layer.
    operation : str
        What the machine computes in one pass, such as ``product 3x3 + add``.
    outputs, inputs, pixels : int
        O, K (as the weights have it, without padding) and P of all images together.
    blocks, blocks_kept : int
        Blocks of the weight matrix, and those kept; 0 where there is no such matrix.
    macs, kept_macs : int
        Products of the dense layer, O x K x P, and those of them that the pattern keeps.
    cycles_dense, cycles_sparse : int
        Cycles of all images, each from the end of the layer before to its own.
    counters_dense, counters_sparse : dict
        The machine's counters.
    bits_equal : bool
        Whether every output of the pruned layer equals the golden model's.
    """

    name: str
    operation: str
    outputs: int
    inputs: int
    pixels: int
    blocks: int
    blocks_kept: int
    macs: int
    kept_macs: int
    cycles_dense: int
    cycles_sparse: int
    counters_dense: dict[str, int]
    counters_sparse: dict[str, int]
    bits_equal: bool

    @property
    def density(self) -> float:
        """Share of the weights that the pattern leaves room for; 1 where there are none."""
        return self.kept_macs / self.macs if self.macs else 1.0

    @property
    def speedup(self) -> float:
        """Dense over sparse cycles."""
        return self.cycles_dense / self.cycles_sparse

    def utilization(self, array_macs: int) -> float:
        """Share of the multipliers' cycles of the sparse run that kept weights used: kept MACs / (MACs a cycle x cycles)."""
        return self.kept_macs / (array_macs * self.cycles_sparse)

    def utilization_dense(self, array_macs: int) -> float:
        """The same of the dense run."""
        return self.macs / (array_macs * self.cycles_dense)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """A network, dense and sparse, layer by layer.

    Parameters
    ----------
    layers : tuple of LayerRecord
        In the order of the dense program.
    array_macs : int
        Multipliers of the array.
    counters_dense, counters_sparse : dict
        The machine's counters, sums over all images: ``cycles`` from start to end, memory included, idle cycles by cause, bytes.
    outputs_equal : bool
        Whether every byte of both networks' outputs equals the golden models'.
    """

    layers: tuple[LayerRecord, ...]
    array_macs: int
    counters_dense: dict[str, int]
    counters_sparse: dict[str, int]
    outputs_equal: bool

    @property
    def cycles_dense(self) -> int:
        """Cycles of the whole network with all weights."""
        return self.counters_dense["cycles"]

    @property
    def cycles_sparse(self) -> int:
        """Cycles of the whole network with the pruned weights."""
        return self.counters_sparse["cycles"]

    @property
    def speedup(self) -> float:
        """Dense over sparse cycles."""
        return self.cycles_dense / self.cycles_sparse

    @property
    def density(self) -> float:
        """Share of the dense products that are left; its inverse is the speed-up that skipping alone could give."""
        return sum(layer.kept_macs for layer in self.layers) / sum(layer.macs for layer in self.layers)

    @property
    def utilization(self) -> float:
        """Kept MACs / (MACs a cycle x cycles) of the sparse run."""
        return sum(layer.kept_macs for layer in self.layers) / (self.array_macs * self.cycles_sparse)

    @property
    def utilization_dense(self) -> float:
        """MACs / (MACs a cycle x cycles) of the dense run."""
        return sum(layer.macs for layer in self.layers) / (self.array_macs * self.cycles_dense)

    @property
    def bits_equal(self) -> bool:
        """Whether every output of the networks and of every layer equals the golden model's."""
        return self.outputs_equal and all(layer.bits_equal for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, derived ones included."""
        layers = [
            {
                **dataclasses.asdict(layer),
                "shape": [layer.outputs, layer.inputs, layer.pixels],
                "density": layer.density,
                "inverse_density": 1 / layer.density,
                "speedup": layer.speedup,
                "utilization": layer.utilization(self.array_macs),
                "utilization_dense": layer.utilization_dense(self.array_macs),
            }
            for layer in self.layers
        ]
        return {
            "layers": layers,
            "array_macs": self.array_macs,
            "counters_dense": self.counters_dense,
            "counters_sparse": self.counters_sparse,
            "outputs_equal": self.outputs_equal,
            "cycles_dense": self.cycles_dense,
            "cycles_sparse": self.cycles_sparse,
            "speedup": self.speedup,
            "density": self.density,
            "utilization": self.utilization,
            "utilization_dense": self.utilization_dense,
            "bits_equal": self.bits_equal,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Comparison":
        """Read what `to_dict` returned."""
        names = [field.name for field in dataclasses.fields(LayerRecord)]
        layers = tuple(LayerRecord(**{name: layer[name] for name in names}) for layer in values["layers"])
        return cls(layers=layers, **{field.name: values[field.name] for field in dataclasses.fields(cls) if field.name != "layers"})
