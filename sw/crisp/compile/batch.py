"""Batch: the operators of one image become those of several that are computed in one run.

Either an operator is *repeated*, once an image, with the same weights; or it is *joined*: it computes several images at a time, which lie
side by side, so that column x of image k of G is column x G + k. A window whose taps are d columns apart then has them d G apart, padding
counts G times, and everything else stays as it is: rows, pixels, planes, stripes. So linear layers compute an image a lane and load their
weights once, and maps of 7 x 7 pixels fill the lanes. What cannot be joined is a step of several columns, since images would part, and an
image that is cut into patches.

Late operators have much weight and few pixels, early ones the reverse. So all operators from one on are joined, where it is worth most by
the predicted cycles, and those before are repeated, image by image. Between them each image is written to its columns by a copy, or by its
global average.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from crisp.arch import Config
from crisp.golden import Window

from .chunks import Chunk
from .errors import CompileError
from .images import crossing, join, joinable_from, rename, repeat, widen
from .join_point import choose_first
from .operator import Kind, Operator, Tensor
from .share_out import cut_for_clusters

__all__ = ["MAX_BATCH", "Batch", "batch_operators"]

#: Most images of a program.
MAX_BATCH = 1024


@dataclasses.dataclass(frozen=True)
class Batch:
    """Operators of several images.

    Parameters
    ----------
    operators : list of Operator
        In order.
    chunks : dict
        Chunks of each, by its name.
    sources, outputs : tuple of Tensor
        Inputs and outputs: one an image, or several images in each.
    parked : frozenset of str
        Tensors that wait in memory until those of the other images are there.
    bounds : tuple of int
        Operators at which those of another image begin, or of several.
    """

    operators: list[Operator]
    chunks: dict[str, list[Chunk]]
    sources: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parked: frozenset[str] = frozenset()
    bounds: tuple[int, ...] = ()


def batch_operators(
    source: Tensor, operators: Sequence[Operator], batch: int, config: Config, *, room: int, is_joined: bool = True
) -> Batch:
    """Turn the operators of one image into those of ``batch`` images.

    Parameters
    ----------
    source : Tensor
        The network's input.
    operators : sequence of Operator
        In order.
    batch : int
        Images.
    config : Config
        The machine.
    room : int
        Words of the activation buffer that images may take which wait to be joined; others wait in memory.
    is_joined : bool
        Whether operators may be joined.

    Raises
    ------
    CompileError
        When there is no image or are too many, names coincide, or an operator does not fit the machine.
    """
    if not 1 <= batch <= MAX_BATCH:
        raise CompileError(f"batch must be 1 to {MAX_BATCH} images, not {batch}; compile for 1 to {MAX_BATCH} and run more than once")
    chunks = {operator.name: cut_for_clusters(operator, config) for operator in operators}
    if batch == 1:
        return Batch(list(operators), chunks, (source,), (operators[-1].output,))
    together, first = 1, len(operators)
    if is_joined:
        # A joined linear layer has a pixel an image: more of them than lanes would only make its weights wait.
        numbers = [number for number in range(2, config.columns + 1) if batch % number == 0]
        gains = {number: choose_first(source, operators, chunks, number, config) for number in numbers}
        together = max(gains, key=lambda number: (gains[number][0], number), default=1)
        first = gains[together][1] if gains else first
    joiner = Joiner(source, operators, chunks, together if first < len(operators) else 1, first, config, room)
    for number in range(0, batch, joiner.together):
        joiner.add(range(number, number + joiner.together))
    names = [operator.name for operator in joiner.operators]
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise CompileError(f"{name}: names of layers must differ from those of joined images; rename the layer")
    bounds = tuple(sorted({*joiner.ends} - {0, len(joiner.operators)}))
    return Batch(joiner.operators, joiner.chunks, tuple(joiner.sources), tuple(joiner.outputs), frozenset(joiner.parked), bounds)


class Joiner:
    """Operators of images so far.

    Parameters
    ----------
    source : Tensor
        The input of one image.
    base : sequence of Operator
        The operators of one image.
    chunks : mapping
        Their chunks.
    together : int
        Images that are joined.
    first : int
        Operator from which on those that can be joined are.
    config : Config
        The machine.
    room : int
        Words that images may take which wait to be joined.
    """

    def __init__(
        self,
        source: Tensor,
        base: Sequence[Operator],
        chunks: Mapping[str, list[Chunk]],
        together: int,
        first: int,
        config: Config,
        room: int,
    ):
        self.source, self.base, self.together, self.config = source, base, together, config
        self.joined = [index for index in joinable_from(base, together) if index >= first] if together > 1 else []
        self.inside = {base[index].output.name for index in self.joined}
        self.copied = {tensor.name: tensor for tensor in crossing(base, self.joined)}
        # The input comes joined from the host, unless something needs it image by image.
        self.is_source_joined = source.name in self.copied and all(
            index in self.joined and base[index].kind is not Kind.PLANES for index in range(len(base)) if source.name in base[index].inputs
        )
        self.base_chunks = chunks
        self.joined_chunks: dict[str, list[Chunk]] = {}
        self.chunks: dict[str, list[Chunk]] = {}
        self.operators: list[Operator] = []
        self.sources: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.parked: set[str] = set()
        self.ends: list[int] = []
        self.room = room

    def is_apart(self, index: int) -> bool:
        """Tell whether a joined operator is a global average whose source is there image by image."""
        operator = self.base[index]
        return operator.kind is Kind.PLANES and operator.source.name not in self.inside

    def add(self, images: range) -> None:
        """Add the operators of some images, as many as are joined."""
        label = "" if len(images) == 1 else f" #{images.start}-{images.stop - 1}"
        parts = {image: f" #{image}" for image in images}
        if self.is_source_joined:
            self.sources.append(widen(self.source, self.together, label))
        else:
            self.sources += [rename(self.source, parts[image]) for image in images]
        writers = self.writers(images, label, parts)
        for image in images:
            for index, operator in enumerate(self.base):
                if index not in self.joined:
                    self.take(repeat(operator, parts[image]), self.base_chunks[operator.name])
                for name in [name for name, (needs, is_early, _) in writers.items() if is_early and needs == operator.output.name]:
                    self.write(writers[name][2][image - images.start])
            self.ends.append(len(self.operators))
        for name in [name for name, (_, is_early, _) in writers.items() if is_early]:
            del writers[name]
        for index in self.joined:
            operator = self.base[index]
            for name in (*operator.inputs, operator.output.name):
                if name in writers:
                    for writer in writers.pop(name)[2]:
                        self.write(writer)
            if not self.is_apart(index):
                self.take(join(operator, self.together, label), self.joined_chunks.setdefault(operator.name, []))
        self.ends.append(len(self.operators))
        last = self.base[-1].output
        self.outputs += (
            [widen(last, self.together, label)] if last.name in self.inside else [rename(last, parts[image]) for image in images]
        )

    def writers(self, images: range, label: str, parts: Mapping[int, str]) -> dict[str, tuple[str, bool, list[Operator]]]:
        """Return for each tensor that is joined image by image what it needs, whether that is done at once, and the operators.

        What is small is joined at once. Else images wait in memory, where they take no room, until all are there.
        """
        found = {}
        group = self.config.group_size
        tensors = {operator.output.name: operator.output for operator in self.base}
        for name in [*self.copied, *(self.base[index].output.name for index in self.joined if self.is_apart(index))]:
            if name == self.source.name and self.is_source_joined:
                continue
            is_copy = name in self.copied
            operator = next((operator for operator in self.base if operator.output.name == name), None)
            if is_copy:
                tensor = self.copied[name]
                operator = Operator(
                    name=f"{name} joined", kind=Kind.MAX, source=tensor, output=tensor, window=Window(), taps=((0, 0),), pad=-128
                )
            assert operator is not None
            output = widen(operator.output, self.together, label)
            ends = [f"{output.name} ..{image}" for image in images[:-1]] + [output.name]
            chain = [
                dataclasses.replace(
                    repeat(operator, parts[image]),
                    output=dataclasses.replace(output, name=end),
                    image=image - images.start,
                    onto=onto,
                )
                for image, end, onto in zip(images, ends, [None, *ends], strict=False)
            ]
            needs = operator.source.name
            is_early = needs in tensors and output.pixels * output.planes(group) <= self.room
            if not is_early and needs in tensors:
                self.parked |= {needs + part for part in parts.values()}
            found[name] = (needs, is_early, chain)
        return found

    def write(self, operator: Operator) -> None:
        """Take an operator that writes one image of several."""
        self.take(operator, self.joined_chunks.setdefault(operator.report_name, []))

    def take(self, operator: Operator, chunks: list[Chunk]) -> None:
        """Take an operator, the next in order; all copies of it share ``chunks``, which are cut when there are none."""
        if not chunks:
            chunks += cut_for_clusters(operator, self.config)
        self.operators.append(operator)
        self.chunks[operator.name] = chunks
