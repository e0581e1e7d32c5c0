"""Tiles: an operator computed some row tiles at a time, so that neither all of its result nor all of its weights are on chip together.

Stripes cut rows, and all weights are needed in each; where weights do not fit, they are loaded as often as there are stripes. Here planes
are cut: each part has its weights once, for all stripes, and its planes of the result leave for memory before the next part's. Where planes
of the result need only those of the source, as in pooling and depthwise convolution, those are loaded part by part too.
"""

import dataclasses

from .buffers import Home
from .chunks import Chunk
from .operator import Kind, Operator
from .plan import Plan

__all__ = ["Tiles"]


@dataclasses.dataclass(frozen=True)
class Tiles:
    """How an operator is cut.

    Parameters
    ----------
    operator : Operator
        What is computed.
    most : int
        Row tiles that a part may have at most.
    copies : int
        Parts that are on chip at a time: 2 where one is stored, and the one behind loaded, while one is computed.
    rings : dict
        Rows of each tensor's ring.
    loaded : frozenset of str
        Tensors that come from memory.
    """

    operator: Operator
    most: int
    copies: int
    rings: dict[str, int]
    loaded: frozenset[str]

    def is_cut(self, name: str) -> bool:
        """Tell whether only some planes of a tensor are on chip."""
        operator = self.operator
        if name == operator.output.name:
            return True
        # A product needs all planes of its source.
        return name in self.loaded and (name != operator.source.name or operator.kind is not Kind.PRODUCT)

    def unit(self, network: Plan) -> int:
        """Return the planes of a row tile."""
        return network.config.tile_words if self.operator.kind is Kind.PRODUCT else 1

    def planes(self, network: Plan, name: str) -> int:
        """Return the planes of a tensor that a part has at most."""
        planes = network.tensors[name].planes(network.config.group_size)
        return min(planes, self.most * self.unit(network)) if self.is_cut(name) else planes

    def words(self, network: Plan, name: str) -> int:
        """Return the words that a tensor takes on chip."""
        return self.planes(network, name) * network.pitch(name, self.rings[name]) * (self.copies if self.is_cut(name) else 1)

    def home(self, network: Plan, name: str, home: Home, chunk: Chunk, part: int) -> Home:
        """Return the place of a part's planes of a tensor that lies at ``home``."""
        if not self.is_cut(name):
            return home
        unit, size = self.unit(network), self.planes(network, name)
        first = chunk.first * unit
        planes = min(chunk.row_tiles * unit, network.tensors[name].planes(network.config.group_size) - first)
        return dataclasses.replace(home, base=home.base + part % self.copies * size * home.pitch, planes=planes, first_plane=first)
