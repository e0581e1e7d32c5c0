"""Plan: the operators of a network, and what follows from them alone, before it is decided what is computed together."""

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cached_property

from crisp.arch import Config

from .buffers import Ring
from .chunks import Chunk, cut
from .cost import execute_cycles, window_cycles
from .lanes import Lanes, source_lanes
from .operator import Kind, Operator, Tensor

__all__ = ["Plan"]


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Operators, and what is known of the tensors between them.

    Parameters
    ----------
    operators : sequence of Operator
        In order.
    chunks : dict
        Chunks of every operator, by its name.
    sources, outputs : tuple of Tensor
        The network's input and output: of a batch one an image, or several images in each.
    tensors : dict
        All tensors by name.
    config : Config
        The machine.
    parked : frozenset of str
        Tensors that go through memory in any case, so that they take no room while other images are computed.
    bounds : tuple of int
        Operators at which those of another image begin, or of several: no segment reaches beyond.
    """

    operators: Sequence[Operator]
    chunks: dict[str, list[Chunk]]
    sources: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    tensors: dict[str, Tensor]
    config: Config
    parked: frozenset[str] = frozenset()
    bounds: tuple[int, ...] = ()
    known_cycles: dict[tuple[str, int], int] = dataclasses.field(init=False, default_factory=dict)
    known_stays: dict[tuple[int, int], bool] = dataclasses.field(init=False, default_factory=dict)
    known_parts: dict[tuple[str, int], list[Chunk]] = dataclasses.field(init=False, default_factory=dict)

    @cached_property
    def last_use(self) -> dict[str, int]:
        """Index of the operator that needs each tensor last; one behind the last for the output."""
        last = {name: index for index, operator in enumerate(self.operators) for name in operator.inputs}
        return {**last, **{tensor.name: len(self.operators) for tensor in self.outputs}}

    @cached_property
    def born(self) -> dict[str, int]:
        """Index of the operator that computes each tensor."""
        return {operator.output.name: index for index, operator in enumerate(self.operators)}

    @cached_property
    def odd(self) -> set[str]:
        """Tensors whose planes are read side by side, and those in whose place they may lie."""
        odd = {operator.source.name for operator in self.operators if operator.kind is Kind.PLANES}
        for operator in reversed(self.operators):
            if operator.output.name in odd and operator.beside is not None:
                odd.add(operator.beside)
        return odd

    @cached_property
    def patched(self) -> set[str]:
        """Tensors that are loaded as patches."""
        return {operator.source.name for operator in self.operators if operator.patches is not None}

    @cached_property
    def external(self) -> set[str]:
        """Tensors that come from the host: the input, or patches of it."""
        return {source.name for source in self.sources} | self.patched

    @cached_property
    def results(self) -> frozenset[str]:
        """Tensors that go to the host."""
        return frozenset(output.name for output in self.outputs)

    @cached_property
    def partial(self) -> set[str]:
        """Tensors that have some of their images: they stay on chip until they have all."""
        return {operator.onto for operator in self.operators if operator.onto is not None}

    @cached_property
    def split(self) -> set[str]:
        """Tensors whose even columns shall lie before the odd ones.

        Windows two columns apart meet in half of the banks, where even columns are neighbours they do not. An operator computes those of
        its result first, then the others, which may leave more lanes empty. So both ways are counted.
        """
        return {operator.output.name for operator in self.operators if self.is_split(operator)}

    def is_split(self, operator: Operator) -> bool:
        """Tell whether an operator computes the even columns of its result before the odd ones."""
        output = operator.output
        consumers = [other for other in self.operators if output.name in other.inputs]
        if not consumers or operator.kind is Kind.PLANES or operator.residual is not None or output.width % 2:
            return False
        if any(other.residual == output.name or other.window.stride[1] != 2 or other.kind is Kind.PLANES for other in consumers):
            return False
        whole, halves = (
            self.chunk_cycles(operator, output.height, 1, phases)
            + sum(self.chunk_cycles(other, other.output.height, phases, 1) for other in consumers)
            for phases in (1, 2)
        )
        return halves < whole

    def resident(self, index: int, state: frozenset[str]) -> list[str]:
        """Return the tensors that lie on chip before operator ``index`` when those of ``state`` lie in memory."""
        return [
            name
            for name in self.tensors
            if name not in state
            and name not in self.external
            and name not in self.results
            and self.born[name] < index <= self.last_use.get(name, -1)
        ]

    def describe(self, first: int, end: int) -> object:
        """Return what the segments between two bounds depend on: equal for operators of images that are computed alike."""
        names = tuple((operator.report_name, operator.onto is None) for operator in self.operators[first:end])
        return names, self.whole_words(self.resident(first, self.parked))

    def row_steps(self, name: str) -> int:
        """Return the rows that a stripe of ``name`` must be a multiple of.

        They are those that its operator computes together. What the host brings or fetches has its rows one behind the other, and a
        stripe of it must begin at a word of the bus, unless it has all rows.
        """
        tensor = self.tensors[name]
        step = unit = self.operators[self.born[name]].row_step if name in self.born else 1
        if name not in self.patched and (name in self.external or name in self.results):
            while step < tensor.height and step * tensor.width * self.config.group_size % self.config.beat_bytes:
                step += unit
        return step

    def pitch(self, name: str, rows: int, line: int | None = None) -> int:
        """Return the words from one plane of a tensor's ring to the next: odd where planes are read side by side."""
        pixels = rows * (line or self.tensors[name].width)
        return pixels | 1 if name in self.odd and pixels > 1 else pixels

    def words(self, name: str, rows: int) -> int:
        """Return the words that a tensor's ring takes."""
        return self.tensors[name].planes(self.config.group_size) * self.pitch(name, rows)

    def whole_words(self, names: Iterable[str]) -> int:
        """Return the words that tensors take as a whole."""
        return sum(self.words(name, self.tensors[name].height) for name in names)

    def whole_bytes(self, name: str) -> int:
        """Return the bytes of all planes of a tensor, as they go over the bus."""
        tensor, group = self.tensors[name], self.config.group_size
        return tensor.planes(group) * tensor.pixels * group

    def is_tight(self, index: int, capacity: int) -> bool:
        """Tell whether all that is alive around operator ``index`` exceeds ``capacity`` words."""
        operator = self.operators[index]
        alive = {*self.resident(index, self.parked), operator.source.name, operator.output.name}
        return self.whole_words(alive - {operator.onto}) > capacity

    def phases(self, operator: Operator) -> tuple[int, int]:
        """Return 2 for source and output where their even columns lie before the odd ones, else 1."""
        return 2 if operator.source.name in self.split else 1, 2 if operator.output.name in self.split else 1

    def lanes(self, operator: Operator, rows: int, source_phases: int, output_phases: int, line: int | None = None) -> Lanes:
        """Return the walk that computes some rows of an operator's result from a source whose rows are ``line`` words apart."""
        source = operator.source
        return source_lanes(
            operator,
            0,
            rows,
            group=self.config.group_size,
            pitch=self.pitch(source.name, source.height),
            line=line or source.width,
            source_phases=source_phases,
            output_phases=output_phases,
        )

    def gather_cycles(self, operator: Operator, rows: int) -> int:
        """Return the cycles in which the windows of some rows of an operator's result are gathered once."""
        phases = self.phases(operator)
        lanes = self.lanes(operator, rows, *phases)
        return phases[1] * max(window_cycles(operator, chunk, lanes, self.config) for chunk in self.chunks[operator.name])

    def chunk_cycles(self, operator: Operator, rows: int, source_phases: int, output_phases: int, line: int | None = None) -> int:
        """Return the predicted cycles of an operator's EXECUTEs for some rows of its result."""
        lanes = self.lanes(operator, rows, source_phases, output_phases, line)
        return sum(execute_cycles(operator, chunk, lanes, output_phases, self.config) for chunk in self.chunks[operator.name])

    def operator_cycles(self, operator: Operator, rows: int) -> int:
        """Return `chunk_cycles`, with columns as they lie."""
        key = operator.name, rows
        if key not in self.known_cycles:
            self.known_cycles[key] = self.chunk_cycles(operator, rows, *self.phases(operator))
        return self.known_cycles[key]

    def parts(self, operator: Operator, tiles: int) -> list[Chunk]:
        """Return the chunks of an operator when none may have more than ``tiles`` row tiles."""
        key = operator.report_name, tiles
        if key not in self.known_parts:
            self.known_parts[key] = cut(operator, self.config, self.chunks[operator.name][0].spread, tiles)
        return self.known_parts[key]

    def load_cycles(self, name: str, rows: int) -> int:
        """Return the cycles in which rows of a tensor are loaded or stored: a word a cycle where an image is cut into patches."""
        words = rows * self.tensors[name].width * self.tensors[name].planes(self.config.group_size)
        return words if name in self.patched else words * self.config.group_size // self.config.beat_bytes

    def weights_stay(self, first: int, end: int) -> bool:
        """Tell whether the weights of operators ``first`` to ``end`` fit their buffers together."""
        if (first, end) not in self.known_stays:
            self.known_stays[first, end] = self.fit_together(
                [chunk for operator in self.operators[first:end] for chunk in self.chunks[operator.name]]
            )
        return self.known_stays[first, end]

    def fit_together(self, chunks: Sequence[Chunk]) -> bool:
        """Tell whether chunks fit their buffers together."""
        needs = [chunk.needs for chunk in chunks]
        for name in needs[0] if needs else ():
            sizes = [need[name] for need in needs]
            if sum(sizes) > getattr(self.config, name):
                return False
            ring = Ring(name, getattr(self.config, name))
            for number, size in enumerate(sizes):
                ring.take(number, size, name)
            if len(ring.pieces) < len(sizes):
                return False
        return True
