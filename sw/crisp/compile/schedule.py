"""Schedule: segments to commands. Gives every tensor its place on chip and in memory, and writes the command stream."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from crisp.arch import (
    RUN,
    Config,
    LoadTarget,
    MemoryWindow,
    Opcode,
)
from crisp.arch.command_rules import CLUSTERED
from crisp.arch.loads import TABLE_DEPTH, element_bytes

from .buffers import FreeList, Home, Ring
from .chunks import Chunk, window_runs
from .cost import array_cycles, fill_cycles
from .execute_fields import kind_fields, residual_fields, result_fields, walk_fields
from .lanes import source_lanes
from .operator import Kind, Operator, Tensor
from .places import Constants, Place, align
from .plan import Plan
from .segments import Segment
from .stream import CommandStream, Touch
from .tiles import Tiles

__all__ = ["NoRoom", "Scheduler"]


class NoRoom(Exception):
    """Tensors that would fit do not, since the free words are not next to each other."""


class Scheduler:
    """Writes the commands of a network.

    Parameters
    ----------
    network : Plan
        Operators and tensors.
    segments : list of Segment
        How they are computed.
    lines : mapping
        Words from a row of a tensor to the next, where that is not its width.
    """

    def __init__(self, network: Plan, segments: list[Segment], lines: Mapping[str, int]):
        self.network = network
        self.segments = segments
        self.lines = lines
        self.config: Config = network.config
        self.group = self.config.group_size
        self.constants = Constants()
        self.free = FreeList(self.config.activation_words)
        self.homes: dict[str, Home] = {}
        self.owners: dict[str, str] = {}
        self.places: dict[str, Place] = {}
        self.scratch_bytes = self.place_tensors()
        self.stream = CommandStream(self.config, -(-self.scratch_bytes // self.group))
        depths = {
            "steps": "weight_buffer_depth",
            "counts": "block_row_buffer_depth",
            "entries": "entry_buffer_depth",
            "channels": "channel_buffer_depth",
            "runs": "run_buffer_depth",
        }
        self.rings = {buffer: Ring(name, getattr(self.config, name)) for buffer, name in depths.items()}
        self.table: bytes | None = None

    # Memory.

    def plane_stride(self, tensor: Tensor, line: int) -> int:
        """Return the bytes from a plane to the next in memory; planes of one pixel lie side by side."""
        size = tensor.height * line * self.group
        return size if tensor.pixels == 1 else align(size, self.config.beat_bytes)

    def image_bytes(self, tensor: Tensor, stride: int) -> int:
        """Return the bytes from an image, or images side by side, to the next in INPUT or OUTPUT."""
        size = tensor.planes(self.group) * stride
        return align(size, self.config.beat_bytes) if tensor.pixels == 1 else size

    def place_tensors(self) -> int:
        """Give every tensor that goes through memory its place; return the bytes of SCRATCH."""
        network = self.network
        patches = [op.source.name for op in network.operators if op.patches is not None]
        for number, source in enumerate(network.sources):
            stride = align(source.width * source.channels, self.config.beat_bytes) if patches else self.plane_stride(source, source.width)
            size = source.height * stride if patches else self.image_bytes(source, stride)
            self.places[source.name] = Place(MemoryWindow.INPUT, number * size, stride, source.width)
            if patches:
                self.places[patches[number]] = self.places[source.name]
        for number, output in enumerate(network.outputs):
            stride = self.plane_stride(output, output.width)
            self.places[output.name] = Place(MemoryWindow.OUTPUT, number * self.image_bytes(output, stride), stride, output.width)
        scratch = 0
        for segment in self.segments:
            for name in sorted(segment.stored - network.results):
                tensor = network.tensors[name]
                # Rows that do not fill words of the bus are moved one by one, so that a stripe may begin at any of them.
                row_bytes = tensor.width * self.group
                line = tensor.width if tensor.pixels == 1 else align(row_bytes, self.config.beat_bytes) // self.group
                place = Place(MemoryWindow.SCRATCH, scratch, self.plane_stride(tensor, line), line)
                self.places[name] = place
                scratch += align(place.stride * tensor.planes(self.group), Constants.ALIGNMENT)
        return scratch

    def scratch(self, name: str, low: int, high: int) -> Touch | None:
        """Return the words of SCRATCH that rows of a tensor take; None for what the host brings or fetches."""
        place, tensor = self.places[name], self.network.tensors[name]
        if place.window is not MemoryWindow.SCRATCH:
            return None
        planes = np.arange(tensor.planes(self.group))
        if name in self.homes:
            planes = self.homes[name].first_plane + np.arange(self.homes[name].planes)
        first = (place.offset + planes * place.stride) // self.group
        return Touch("scratch", first[:, None] + np.arange(low * place.line, high * place.line))

    # The activation buffer.

    def touch(self, name: str, low: int, high: int) -> Touch:
        """Return the words that rows ``low`` to ``high`` of a tensor take on chip."""
        home = self.homes[name]
        rows = np.arange(low, high) % home.rows
        pixels = (rows[:, None] * home.line + np.arange(home.width)).reshape(-1)
        return Touch("activations", home.base + np.arange(home.planes)[:, None] * home.pitch + pixels)

    def take(self, segment: Segment) -> list[str]:
        """Give the tensors of a segment their places on chip; return those that are freed behind it."""
        plan, temporary = segment.plan, []
        names = [name for name in plan.rings if plan.homes[name] == name]
        stay = {plan.homes[name] for name in segment.kept}
        for name in sorted(names, key=lambda name: (name not in stay, -plan.rings[name])):
            tensor = self.network.tensors[name]
            line = self.lines.get(name, tensor.width)
            pitch, planes = self.network.pitch(name, plan.rings[name], line), tensor.planes(self.group)
            if name in segment.loaded:
                planes = -(-planes // segment.parts)
            if segment.tiles:
                planes = segment.tiles.words(self.network, name) // pitch
            base = self.free.take(name, planes * pitch, high=name not in stay)
            if base is None:
                raise NoRoom(name)
            phases = 2 if name in self.network.split else 1
            self.homes[name] = Home(base, tensor.width, line, plan.rings[name], pitch, planes, phases)
            self.owners[name] = name
            if name not in stay:
                temporary.append(name)
        for name in plan.rings:
            owner = self.owners[plan.homes[name]]
            self.homes[name], self.owners[name] = self.homes[plan.homes[name]], owner
        return temporary

    def release(self, segment: Segment, temporary: Iterable[str]) -> None:
        """Free what nobody needs behind a segment."""
        for name in temporary:
            self.free.free(name)
        alive = {self.owners[name] for name in self.homes if name in segment.kept or self.survives(name, segment)}
        for name in list(self.free.used):
            if name not in alive:
                self.free.free(name)
        for name in list(self.homes):
            if self.owners[name] not in self.free.used:
                del self.homes[name]

    def survives(self, name: str, segment: Segment) -> bool:
        """Tell whether a tensor that lies on chip is needed behind a segment."""
        return self.network.last_use.get(name, -1) >= segment.end and name not in segment.stored and name not in segment.loaded

    # Commands.

    def run(self) -> None:
        """Write all commands.

        Raises
        ------
        NoRoom
            When tensors do not find their places.
        """
        for segment in self.segments:
            temporary = self.take(segment)
            if segment.plan.stripes > 1 and not self.is_loaded(segment):
                for ring in self.rings.values():
                    ring.next = 0  # so that the weights of all its operators may stay
            if segment.tiles:
                self.compute_tiles(segment, segment.tiles)
            elif segment.parts > 1:
                self.compute_parts(segment)
            else:
                self.compute_stripes(segment)
            self.release(segment, temporary)
        self.stream.end()

    def compute_stripes(self, segment: Segment) -> None:
        """Write the commands of a segment stripe by stripe."""
        for stripe in range(segment.plan.stripes):
            done = self.begin(segment) if stripe == 0 and segment.first == 0 else 0
            for name in sorted(segment.loaded):
                low, high = segment.plan.rows(name, stripe)
                self.load_rows(name, low if not done else self.network.operators[0].last_row(done), high)
            for operator in self.network.operators[segment.first : segment.end]:
                low, high = segment.plan.rows(operator.output.name, stripe)
                if operator is self.network.operators[0]:
                    low += done
                if high > low:
                    for chunk in self.network.chunks[operator.name]:
                        self.compute(operator, chunk, low, high)
                    if operator.output.name in segment.stored:
                        self.store_rows(operator.output.name, low, high)

    def begin(self, segment: Segment) -> int:
        """Write the commands of the first few rows of a network, so that the array need not wait for a whole stripe; return how many rows.

        Of an image that is cut into patches only, since a word of those takes a cycle, and where a few rows leave no lane empty.
        """
        operator = self.network.operators[0]
        (chunk, *more), name = self.network.chunks[operator.name], operator.output.name
        if operator.patches is None or more or len(segment.loaded) > 1:
            return 0
        width = operator.output.width // self.homes[name].phases
        rows = self.config.columns // math.gcd(width, self.config.columns)
        if 2 * rows > segment.plan.ends[name][0]:
            return 0
        self.load_rows(operator.source.name, 0, operator.last_row(rows))
        self.compute(operator, chunk, 0, rows)
        if name in segment.stored:
            self.store_rows(name, 0, rows)
        return rows

    def compute_parts(self, segment: Segment) -> None:
        """Write the commands of a segment of one operator whose source is too large, some planes at a time."""
        operator = self.network.operators[segment.first]
        name, planes = operator.source.name, operator.source.planes(self.group)
        home = self.homes[name]
        for first in range(0, planes, home.planes):
            self.homes[name] = dataclasses.replace(home, first_plane=first, planes=min(home.planes, planes - first))
            self.load_rows(name, 0, operator.source.height)
            for chunk in self.network.chunks[operator.name]:
                self.compute(operator, chunk, 0, operator.output.height)
        if operator.output.name in segment.stored:
            self.store_rows(operator.output.name, 0, operator.output.height)

    def compute_tiles(self, segment: Segment, tiles: Tiles) -> None:
        """Write the commands of a segment of one operator some row tiles after the other: all stripes of these, then all of the next."""
        operator = self.network.operators[segment.first]
        whole = {name: self.homes[name] for name in segment.plan.rings}
        for part, chunk in enumerate(self.network.parts(operator, tiles.most)):
            for name, home in whole.items():
                self.homes[name] = tiles.home(self.network, name, home, chunk, part)
            for stripe in range(segment.plan.stripes):
                for name in sorted(segment.loaded):
                    if part == 0 or segment.plan.stripes > 1 or tiles.is_cut(name):
                        self.load_rows(name, *segment.plan.rows(name, stripe))
                low, high = segment.plan.rows(operator.output.name, stripe)
                if high > low:
                    self.compute(operator, chunk, low, high)
                    self.store_rows(operator.output.name, low, high)
        self.homes |= whole

    def pieces(self, name: str, low: int, high: int, *, is_cut: bool = False) -> Iterable[tuple[int, int]]:
        """Cut rows where the ring wraps; and each from the next where they are apart in memory, unless they are cut to patches."""
        rows = self.homes[name].rows
        most = rows if is_cut or self.places[name].line == self.network.tensors[name].width else 1
        while low < high:
            end = min(high, (low // rows + 1) * rows, low + most)
            yield low, end
            low = end

    def load_rows(self, name: str, low: int, high: int) -> None:
        """Load rows of a tensor."""
        tensor, home, place = self.network.tensors[name], self.homes[name], self.places[name]
        operator = next((op for op in self.network.operators if op.patches is not None and op.source.name == name), None)
        for start, end in self.pieces(name, low, high, is_cut=operator is not None):
            destination = home.base + home.place(start)
            if operator is not None:
                image, patches = self.network.sources[0], operator.patches  # all are of one size
                assert patches is not None
                cycles = (end - start) * tensor.width * patches.words
                self.stream.load(
                    operator.name,
                    LoadTarget.PATCHES,
                    self.touch(name, start, end),
                    cycles=cycles,
                    window=int(place.window),
                    offset=place.offset + start * place.stride,
                    row_bytes=image.width * image.channels,
                    rows=end - start,
                    row_stride=place.stride,
                    destination=destination,
                    destination_stride=home.pitch,
                    patch_step=patches.step,
                    patch_words=patches.words,
                    patch_lead=patches.lead,
                    patches=tensor.width,
                    fill=operator.pad,
                )
                continue
            offset, row_bytes, rows = self.transfer(tensor, home, place, start, end)
            self.stream.load(
                name,
                LoadTarget.ACTIVATIONS,
                self.touch(name, start, end),
                reads=self.scratch(name, start, end),
                cycles=rows * -(-row_bytes // self.config.beat_bytes),
                window=int(place.window),
                offset=place.offset + offset,
                row_bytes=row_bytes,
                rows=rows,
                row_stride=place.stride if rows > 1 else 0,
                destination=destination,
                destination_stride=home.pitch,
            )

    def transfer(self, tensor: Tensor, home: Home, place: Place, start: int, end: int) -> tuple[int, int, int]:
        """Return offset, bytes and number of the rows of memory that rows of a tensor are: one a plane, or one for planes of one pixel."""
        if tensor.pixels == 1 and home.pitch == 1:
            return home.first_plane * self.group, home.planes * self.group, 1
        return home.first_plane * place.stride + start * place.line * self.group, (end - start) * tensor.width * self.group, home.planes

    def store_rows(self, name: str, low: int, high: int) -> None:
        """Store rows of a tensor."""
        tensor, home, place = self.network.tensors[name], self.homes[name], self.places[name]
        for start, end in self.pieces(name, low, min(high, tensor.height)):
            offset, row_bytes, rows = self.transfer(tensor, home, place, start, end)
            self.stream.store(
                name,
                self.touch(name, start, end),
                writes=self.scratch(name, start, end),
                cycles=rows * -(-row_bytes // self.config.beat_bytes),
                window=int(place.window),
                offset=place.offset + offset,
                row_bytes=row_bytes,
                rows=rows,
                row_stride=place.stride if rows > 1 else 0,
                source=home.base + home.place(start),
                source_stride=home.pitch,
            )

    def constant(self, operator: Operator, buffer: str, target: LoadTarget, shares: Sequence[bytes], number: int) -> int:
        """Bring a constant of an operator into its buffer, unless it is there; return its first place.

        Parameters
        ----------
        operator : Operator
            Whose it is.
        buffer : str
            Name of the buffer.
        target : LoadTarget
            Its target.
        shares : sequence of bytes
            What the buffer of each cluster takes, or of all clusters.
        number : int
            Places that the largest takes.
        """
        if not any(shares):
            return 0
        if len(set(shares)) == 1:
            shares = shares[:1]
        ring, key = self.rings[buffer], piece_key(target, shares)
        base = ring.find(key)
        if base is None:
            base = ring.take(key, number, operator.name)
            is_for_all = len(shares) == 1 and self.config.clusters > 1 and target in CLUSTERED
            for cluster, data in enumerate(shares):
                if data:
                    self.stream.load(
                        operator.name,
                        target,
                        Touch(buffer, slice(base, base + number)),
                        cycles=-(-len(data) // min(self.config.beat_bytes, element_bytes(target, self.config))),
                        window=int(MemoryWindow.PROGRAM),
                        offset=self.constants.add(data),
                        row_bytes=len(data),
                        rows=1,
                        destination=base,
                        cluster=cluster,
                        all_clusters=int(is_for_all),
                    )
        return base

    def is_loaded(self, segment: Segment) -> bool:
        """Tell whether the weights of a segment are there, as those of a small network are when its next image comes."""
        chunks = [chunk for operator in self.network.operators[segment.first : segment.end] for chunk in self.network.chunks[operator.name]]
        pieces = [(steps_target(chunk), [share.steps for share in chunk.shares]) for chunk in chunks]
        keys = [piece_key(target, shares) for target, shares in pieces if any(shares)]
        return bool(keys) and all(self.rings["steps"].find(key) is not None for key in keys)

    def load_table(self, operator: Operator) -> None:
        """Bring an operator's activation table into the buffer, unless it is there."""
        if operator.table is None or operator.table.tobytes() == self.table:
            return
        self.table = operator.table.tobytes()
        self.stream.load(
            operator.name,
            LoadTarget.TABLE,
            Touch("table", slice(0, 1)),
            cycles=TABLE_DEPTH,
            window=int(MemoryWindow.PROGRAM),
            offset=self.constants.add(self.table),
            row_bytes=TABLE_DEPTH,
            rows=1,
        )

    def compute(self, operator: Operator, chunk: Chunk, low: int, high: int) -> None:
        """Write the EXECUTE of a chunk for output rows ``low`` to ``high``, and the LOADs that it needs."""
        source, output = self.homes[operator.source.name], self.homes[operator.output.name]
        runs = window_runs(operator, chunk, source)
        shares, needs = chunk.shares, chunk.needs
        pieces = (
            ("steps", "step_base", steps_target(chunk), [share.steps for share in shares], needs["weight_buffer_depth"]),
            ("counts", "count_base", LoadTarget.COUNTS, [share.counts for share in shares], needs["block_row_buffer_depth"]),
            ("entries", "entry_base", LoadTarget.ENTRIES, [share.entries for share in shares], needs["entry_buffer_depth"]),
            ("channels", "channel_base", LoadTarget.CHANNELS, [share.channels for share in shares], needs["channel_buffer_depth"]),
            ("runs", "run_base", LoadTarget.RUNS, [runs], len(runs) // RUN.num_bytes),
        )
        bases, reads = {}, []
        for buffer, field, target, data, number in pieces:
            base = self.constant(operator, buffer, target, data, number)
            bases[field] = base
            if number:
                reads.append(Touch(buffer, slice(base, base + number)))
        self.load_table(operator)
        if operator.table is not None:
            reads.append(Touch("table", slice(0, 1)))

        top, bottom = operator.first_row(low), operator.last_row(min(high, operator.output.height))
        reads.append(self.touch(operator.source.name, top, bottom))
        common = {**kind_fields(operator, chunk), **bases}
        if operator.residual is not None:
            reads.append(self.touch(operator.residual, low, min(high, operator.output.height)))
            common |= residual_fields(operator, chunk, self.homes[operator.residual], low, self.config.tile_words)
        for phase in range(output.phases):
            lanes = source_lanes(
                operator,
                low,
                high,
                group=self.group,
                pitch=source.pitch,
                line=source.line,
                source_phases=source.phases,
                output_phases=output.phases,
                phase=phase,
            )
            if operator.kind is Kind.PLANES:  # those that are here
                width = source.planes if operator.output.images == 1 else lanes.width
                lanes = dataclasses.replace(lanes, pixels=source.planes * operator.source.images, width=width)
            self.stream.execute(
                operator.name,
                reads,
                self.touch(operator.output.name, low, high),
                cycles=array_cycles(operator, chunk, lanes, self.config),
                fill=fill_cycles(operator, chunk, lanes, self.config),
                **common,
                **walk_fields(operator, chunk, source, output, lanes, low, phase, self.config.columns),
                **result_fields(operator, chunk, source, output, low, phase, self.config.tile_words),
            )

    def commands(self, constants_offset: int) -> bytes:
        """Return the commands as they lie in memory, when the constants begin ``constants_offset`` bytes behind the window's begin."""
        for command in self.stream.commands:
            if command.opcode is Opcode.LOAD and command.fields["window"] == MemoryWindow.PROGRAM:
                command.fields["offset"] += constants_offset
        return self.stream.to_bytes()


def piece_key(target: LoadTarget, shares: Sequence[bytes]) -> tuple[object, ...]:
    """Return what tells a constant from others: equal ones, such as the block lists of dense layers, are one."""
    return target, *(shares[:1] if len(set(shares)) == 1 else shares)


def steps_target(chunk: Chunk) -> LoadTarget:
    """Return how the steps of a chunk are loaded."""
    return LoadTarget.DENSE_STEPS if chunk.is_dense else LoadTarget.STEPS
