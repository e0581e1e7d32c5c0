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
import math
from collections.abc import Iterable, Mapping, Sequence

from crisp.arch import Config
from crisp.golden import Window

from .chunks import Chunk
from .cost import array_cycles
from .errors import CompileError
from .lanes import source_lanes
from .operator import FARTHEST, Kind, Operator, Tensor
from .segments import BUS_WEIGHT
from .share_out import cut_for_clusters

__all__ = ["MAX_BATCH", "Batch", "batch_operators"]

#: Most images of a program.
MAX_BATCH = 1024

#: Widest map, and most places from a window's first pixel to its last, that the fields of EXECUTE and RUN can tell.
MAX_WIDTH, MAX_PLACES = (1 << 13) - 1, (1 << 15) - 1

#: Cycles that a copy takes beyond its words, and those of its load and store where it comes from memory.
COPY_OVERHEAD, MEMORY_OVERHEAD = 90, 100


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


def is_joinable(operator: Operator, images: int) -> bool:
    """Tell whether an operator can compute several images side by side."""
    if operator.patches is not None or operator.source.width * images > MAX_WIDTH:
        return False
    if operator.kind is Kind.PLANES:
        return operator.source.pixels * images <= MAX_PLACES
    rows, columns = (max(places) for places in zip(*operator.taps, strict=True))
    is_near = columns * images <= FARTHEST or (operator.window.borders == ((0, 0), (0, 0)) and operator.row_step == 1)
    is_within = (rows * operator.source.width + columns) * images <= MAX_PLACES
    return is_near and is_within and (operator.window.stride[1] == 1 or operator.output.width == 1)


def joinable_from(operators: Sequence[Operator], images: int) -> list[int]:
    """Return the operators that can be joined, so that all that needs their results can be as well: their indices, ascending."""
    found: list[int] = []
    apart: set[str] = set()
    for index in reversed(range(len(operators))):
        operator = operators[index]
        if operator.output.name not in apart and is_joinable(operator, images):
            found.append(index)
        else:
            apart.update(operator.inputs)
    return found[::-1]


def crossing(operators: Sequence[Operator], joined: Iterable[int]) -> list[Tensor]:
    """Return what joined operators read and repeated ones, or the host, make: each must be joined by copies.

    A global average of one image writes to its pixel by itself.
    """
    inside = {operators[index].output.name for index in joined}
    tensors = {tensor.name: tensor for operator in operators for tensor in (operator.source, operator.output)}
    return [
        tensors[name]
        for name in dict.fromkeys(
            name for index in joined if operators[index].kind is not Kind.PLANES for name in operators[index].inputs if name not in inside
        )
    ]


def choose_first(
    source: Tensor, operators: Sequence[Operator], chunks: Mapping[str, Sequence[Chunk]], images: int, config: Config
) -> tuple[float, int]:
    """Choose the operator from which on those that can be joined are.

    Returns
    -------
    gain : float
        Cycles that an image costs less than alone, with those that its bytes on the bus cost; 0 where nothing should be joined.
    first : int
        The operator; behind the last where none should be.
    """
    group = config.group_size
    joinable = joinable_from(operators, images)

    def cost(operator: Operator) -> float:
        """Return what an operator costs, for one image or several side by side: cycles of the array or to load its weights, and bytes."""
        source = operator.source
        lanes = source_lanes(operator, 0, operator.output.height, group=group, pitch=source.pixels, line=source.width)
        array = sum(array_cycles(operator, chunk, lanes, config) for chunk in chunks[operator.report_name])
        bus = sum(chunk.weight_bytes for chunk in chunks[operator.report_name]) / config.beat_bytes
        return max(array, bus) + BUS_WEIGHT * bus

    gains = {index: images * cost(operators[index]) - cost(join(operators[index], images)) for index in joinable}
    conflicts = -(-config.columns // (config.banks // math.gcd(images, config.banks)))
    best, most = len(operators), 0.0
    for position, first in enumerate(joinable):
        joined = joinable[position:]
        if peak(operators, joined, group) * images > config.activation_words:
            continue
        copied = [tensor for tensor in crossing(operators, joined) if tensor.name != source.name]
        gain = sum(gains[index] for index in joined)
        for tensor in copied:
            tiles = -(-tensor.pixels // config.columns)
            words = tiles * tensor.planes(group) * max(conflicts, group // config.drain_rows)
            bus = tensor.pixels * tensor.planes(group) * group // config.beat_bytes
            gain -= images * (words + COPY_OVERHEAD + bus + MEMORY_OVERHEAD)
        if gain > most:
            best, most = first, gain
    return most / images, best


def peak(operators: Sequence[Operator], joined: Sequence[int], group: int) -> int:
    """Return the most words of an image that are alive among joined operators; a sum takes the place of what it adds."""
    sizes = {tensor.name: tensor.pixels * tensor.planes(group) for op in operators for tensor in (op.source, op.output)}
    last = {name: index for index, operator in enumerate(operators) for name in operator.inputs}
    born = {operator.output.name: index for index, operator in enumerate(operators)}
    inside = {operators[index].output.name for index in joined} | {tensor.name for tensor in crossing(operators, joined)}
    most = 0
    for index in joined:
        operator = operators[index]
        alive = {name for name in inside if born.get(name, -1) <= index <= last.get(name, len(operators))}
        if operator.residual is not None and last[operator.residual] == index and operator.residual != operator.source.name:
            alive.discard(operator.residual)
        most = max(most, sum(sizes[name] for name in alive))
    return most


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


def rename(tensor: Tensor, part: str) -> Tensor:
    """Return a tensor of one image."""
    return dataclasses.replace(tensor, name=tensor.name + part)


def widen(tensor: Tensor, images: int, label: str = "") -> Tensor:
    """Return a tensor of several images side by side."""
    return dataclasses.replace(tensor, name=tensor.name + label, width=tensor.width * images, images=images)


def repeat(operator: Operator, part: str) -> Operator:
    """Return an operator for one image of several."""
    return dataclasses.replace(
        operator,
        name=operator.name + part,
        title=operator.report_name,
        source=rename(operator.source, part),
        output=rename(operator.output, part),
        residual=None if operator.residual is None else operator.residual + part,
    )


def join(operator: Operator, images: int, label: str = "") -> Operator:
    """Return an operator for several images side by side: the columns of each lie between those of the others."""
    window = operator.window
    (above, below), (left, right) = window.borders
    wide = Window(
        kernel=window.kernel,
        stride=(window.stride[0], 1),
        padding=(above, left * images),
        dilation=(window.dilation[0], window.dilation[1] * images),
        padding_end=(below, right * images),
    )
    return dataclasses.replace(
        operator,
        name=operator.name + label,
        title=operator.report_name,
        source=widen(operator.source, images, label),
        output=widen(operator.output, images, label),
        window=operator.window if operator.kind is Kind.PLANES else wide,
        taps=tuple((row, column * images) for row, column in operator.taps),
        residual=None if operator.residual is None else operator.residual + label,
        macs=operator.macs * images,
        kept_macs=operator.kept_macs * images,
    )
