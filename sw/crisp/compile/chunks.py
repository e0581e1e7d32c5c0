"""Chunks: the weights of an operator in pieces that fit the buffers, each with what the walk over its blocks needs.

A chunk is some row tiles. Its windows have the words that any of its blocks uses, and no others, so block indices are renumbered: an
index counts the blocks of the window. What each cluster has to hold of a chunk is its share.
"""

import dataclasses
import itertools
import math

import numpy as np

from crisp.arch import CHANNEL, COUNT, ENTRY, RUN, Config, Spread
from crisp.arch.loads import encode_steps
from crisp.arch.packing import schedule

from .buffers import Home
from .errors import CompileError
from .operator import Kind, Operator

__all__ = ["Chunk", "Share", "cut", "window_runs"]

#: Longest run of words that a word RUN can tell.
RUN_WORDS = 1 << RUN.fields[4].width


@dataclasses.dataclass(frozen=True)
class Share:
    """What a cluster's buffers hold of a chunk.

    Parameters
    ----------
    num_steps : int
        Steps in the weight buffer.
    steps : bytes
        Steps as they lie in memory.
    counts, entries, channels : bytes
        Words COUNT, ENTRY, CHANNEL.
    """

    num_steps: int = 0
    steps: bytes = b""
    counts: bytes = b""
    entries: bytes = b""
    channels: bytes = b""

    @property
    def num_bytes(self) -> int:
        """Bytes that are loaded for it."""
        return len(self.steps) + len(self.counts) + len(self.entries) + len(self.channels)


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk:
    """Row tiles of an operator that one EXECUTE computes.

    Parameters
    ----------
    first, row_tiles : int
        First row tile, and how many; planes for `Kind.MAX`.
    tile_steps : numpy.ndarray
        Steps of each row tile.
    words : numpy.ndarray
        Words of the window, each as number of its tap and plane of that tap: shape (window_words, 2).
    shares : tuple of Share
        What the buffers hold: of each cluster, or one that all clusters hold.
    is_dense : bool
        Whether steps have no offsets.
    fields : dict
        Fields of EXECUTE that follow.
    part : int
        Number of the part where K is split: the sums of all but a row tile's last part go on in the next chunk.
    spread : Spread
        Whether clusters take its row tiles in turn, or pixel tiles.
    """

    first: int
    row_tiles: int
    tile_steps: np.ndarray
    words: np.ndarray
    shares: tuple[Share, ...]
    is_dense: bool
    fields: dict[str, int]
    part: int = 0
    spread: Spread = Spread.ROW_TILES

    @property
    def is_open(self) -> bool:
        """Whether the sums go on in the next chunk."""
        return bool(self.fields.get("open", 0))

    @property
    def run_starts(self) -> np.ndarray:
        """Words of the window at which a run begins: where the tap changes, or planes do not follow each other."""
        tap, plane = self.words[:, 0], self.words[:, 1]
        return np.flatnonzero(np.r_[True, (np.diff(tap) != 0) | (np.diff(plane) != 1)])

    @property
    def num_runs(self) -> int:
        """Runs of the window."""
        return int((-(-np.diff(np.r_[self.run_starts, len(self.words)]) // RUN_WORDS)).sum())

    @property
    def needs(self) -> dict[str, int]:
        """How much of every buffer that is loaded it needs; of those that each cluster has, the largest share."""
        return {
            "weight_buffer_depth": max(share.num_steps for share in self.shares),
            "entry_buffer_depth": max(len(share.entries) for share in self.shares) // ENTRY.num_bytes,
            "channel_buffer_depth": max(len(share.channels) for share in self.shares) // CHANNEL.num_bytes,
            "block_row_buffer_depth": max(len(share.counts) for share in self.shares) // COUNT.num_bytes,
            "run_buffer_depth": self.num_runs,
        }

    @property
    def weight_bytes(self) -> int:
        """Bytes that are loaded for it, runs not counted."""
        return sum(share.num_bytes for share in self.shares)


def window_runs(operator: Operator, chunk: Chunk, source: Home) -> bytes:
    """Return the words RUN of a chunk's window for a source that lies at ``source``."""
    tap, plane = chunk.words[:, 0], chunk.words[:, 1]
    starts = chunk.run_starts
    lengths = np.diff(np.r_[starts, len(tap)])
    pieces = [
        (start + done, min(RUN_WORDS, length - done))
        for start, length in zip(starts, lengths, strict=True)
        for done in range(0, length, RUN_WORDS)
    ]
    first = np.array([start for start, _ in pieces])
    rows, columns = np.array(operator.taps)[tap[first]].T
    places = columns
    if source.phases == 2:
        shift, phase = np.divmod(columns - operator.window.padding[1], 2)
        places = phase * (source.width // 2) + shift
    ring = source.words if operator.kind is Kind.PLANES else source.ring
    pixels = np.fmod(rows * source.line + places, ring)  # taps that are further away than the image is large lie outside it
    if operator.kind is Kind.PLANES or operator.is_inside:
        rows, columns = np.zeros_like(rows), np.zeros_like(columns)
    return RUN.pack_array(
        dy=rows,
        dx=columns,
        pixels=pixels,
        plane=plane[first] * source.pitch,
        words_minus_1=np.array([length for _, length in pieces]) - 1,
        last=np.arange(len(pieces)) == len(pieces) - 1,
    ).tobytes()


def cut(operator: Operator, config: Config, spread: Spread = Spread.ROW_TILES, most: int | None = None) -> list[Chunk]:
    """Cut an operator into chunks of which two fit the buffers at a time, or one where a row tile is too large for that.

    Parameters
    ----------
    operator : Operator
        The operator.
    config : Config
        The machine.
    spread : Spread
        What its clusters take in turn.
    most : int, optional
        Row tiles that a chunk may have at most.

    Raises
    ------
    CompileError
        When not even one row tile fits.
    """
    if operator.kind is Kind.MAX:
        planes = operator.output.planes(config.group_size)
        step = most or planes
        return [cut_maximum(operator, first, min(step, planes - first)) for first in range(0, planes, step)]
    pieces = Pieces(operator, config, spread)
    chunks = []
    first = 0
    while first < pieces.row_tiles:
        if pieces.is_split(first):
            chunks += pieces.parts(first)
            first += 1
            continue
        count = pieces.longest(first, most)
        chunks.append(pieces.chunk(first, count))
        first += count
    return chunks


def cut_maximum(operator: Operator, first: int, planes: int) -> Chunk:
    """Return a chunk of some planes of an operator without weights."""
    words = np.array([(tap, 0) for tap in range(len(operator.taps))])
    fields = {"window_words": len(words), "block_tiles": 1, "block_columns": 1, "tail_groups": 1}
    return Chunk(first, planes, np.zeros(planes, int), words, (Share(),), True, fields)


class Pieces:
    """What chunks are cut from.

    Parameters
    ----------
    operator : Operator
        An operator with weights.
    config : Config
        The machine.
    spread : Spread
        What its clusters take in turn.
    """

    def __init__(self, operator: Operator, config: Config, spread: Spread):
        if operator.layer is None:
            raise ValueError(f"{operator.name} has no weights")
        self.operator, self.config, self.packed = operator, config, operator.layer.packed
        self.pattern = self.packed.pattern
        self.channels = operator.layer.channel_words()
        self.row_tiles = self.packed.row_tiles
        tiles = schedule(self.pattern, config.rows)
        self.tile_steps = np.array([len(groups) for groups, _, _ in tiles])
        self.step_starts = np.r_[0, np.cumsum(self.tile_steps)]
        self.entry_starts = np.r_[0, np.cumsum(self.packed.counts, dtype=np.int64)]
        # Clusters that have row tiles of their own; all have the same ones where they take pixel tiles in turn.
        self.spread = spread
        self.clusters = config.clusters if spread is Spread.ROW_TILES else 1
        # Planes of a row tile share their entries where each has a window of its own.
        self.is_grouped = operator.kind is Kind.DEPTHWISE

    def block_rows(self, first: int, count: int) -> range:
        """Return the block rows of row tiles from ``first`` on."""
        if self.is_grouped:
            return range(1)
        tiles = self.packed.block_tiles
        return range(first // tiles, (first + count - 1) // tiles + 1)

    def window_words(self, rows: range) -> np.ndarray:
        """Return the groups of K that blocks of ``rows`` use, ascending."""
        used = np.logical_or.reduce(self.pattern.kept[rows.start : rows.stop])
        return np.flatnonzero(np.repeat(used, self.pattern.column_groups))

    def tiles(self, first: int, count: int) -> list[range]:
        """Return which of the row tiles from ``first`` on each cluster has."""
        return [range(first + cluster, first + count, self.clusters) for cluster in range(self.clusters)]

    def lists(self, tiles: range) -> list[int]:
        """Return the block rows of some row tiles, each once."""
        if self.is_grouped:
            return [0] if tiles else []
        return list(dict.fromkeys(tile // self.packed.block_tiles for tile in tiles))

    def needs(self, first: int, count: int) -> dict[str, int]:
        """Return how much of every buffer the row tiles need: of those that each cluster has, the most."""
        tiles = self.tiles(first, count)
        lists = [self.lists(own) for own in tiles]
        return {
            "weight_buffer_depth": max(int(self.tile_steps[own.start : own.stop : own.step].sum()) for own in tiles),
            "entry_buffer_depth": max(int(self.packed.counts[rows].sum()) for rows in lists),
            "block_row_buffer_depth": max(len(rows) for rows in lists),
            "channel_buffer_depth": max(len(own) for own in tiles) * self.config.rows,
            "column_buffer_depth": len(self.window_words(self.block_rows(first, count))),
        }

    def fits(self, first: int, count: int, share: int) -> bool:
        """Tell whether row tiles take at most one ``share``-th of every buffer."""
        return all(need <= getattr(self.config, name) // share for name, need in self.needs(first, count).items())

    def longest(self, first: int, most: int | None = None) -> int:
        """Return how many row tiles from ``first`` on, ``most`` or less, make a chunk: whole block rows, or a part of one."""
        block = 1 if self.is_grouped else self.packed.block_tiles
        left = self.row_tiles - first
        if most is not None and most < left:
            left = max(most // block * block, 1) if first % block == 0 and most >= block else min(most, block - first % block)
        # The walk counts block rows from the chunk's first row tile, so a chunk that begins within one ends there.
        # Where there are several clusters, as many row tiles for each as for the others.
        units = [(max(block, self.clusters), left), (block, left)] if first % block == 0 else []
        units.append((1, min(block - first % block, left)))
        # Weights of few pixels are used as fast as they come: smaller pieces of them can be loaded ahead earlier.
        for share in (4, 2, 1) if self.operator.output.pixels <= self.config.columns else (2, 1):
            for unit, most in units:
                if not self.fits(first, min(unit, most), share):
                    continue
                # Halve the range; what fits is monotone.
                whole = math.ceil(most / unit)
                low, high = 1, whole
                while low < high:
                    middle = (low + high + 1) // 2
                    if self.fits(first, min(middle * unit, most), share):
                        low = middle
                    else:
                        high = middle - 1
                chunks = math.ceil(whole / low)  # equal chunks rather than a short last one
                return min(math.ceil(whole / chunks) * unit, most)
        for name, need in self.needs(first, 1).items():
            if need > getattr(self.config, name):
                raise CompileError(
                    f"{self.operator.name}: a row tile needs {name} of {need}, but the configuration has {getattr(self.config, name)}; "
                    f"choose a larger configuration"
                )
        raise AssertionError("a row tile that fits nowhere needs too much of some buffer")

    def is_split(self, first: int) -> bool:
        """Tell whether K of a row tile is split: where it takes more than half a buffer, and one tile holds all pixels."""
        output = self.operator.output
        return self.operator.kind is Kind.PRODUCT and output.pixels <= self.config.columns and not self.fits(first, 1, 2)

    def parts(self, first: int) -> list[Chunk]:
        """Return a row tile in parts of which two fit the buffers at a time: neighbouring blocks of K each."""
        row = first // self.packed.block_tiles
        kept = np.flatnonzero(self.pattern.n[row])
        groups = self.pattern.column_groups[kept]
        steps = groups * self.pattern.n[row, kept]
        limits = (
            (steps, self.config.weight_buffer_depth // 4),
            (groups, self.config.column_buffer_depth // 2),
            (np.ones(len(kept), int), self.config.entry_buffer_depth // 4),
        )
        starts = [0]
        for block in range(len(kept)):
            if block > starts[-1] and any(sizes[starts[-1] : block + 1].sum() > limit for sizes, limit in limits):
                starts.append(block)
        step_starts = np.r_[0, np.cumsum(steps)] + self.step_starts[first]
        chunks = []
        for part, (begin, end) in enumerate(itertools.pairwise([*starts, len(kept)])):
            blocks = np.zeros_like(self.pattern.kept[row])
            blocks[kept[begin:end]] = True
            chunk = self.build(
                first,
                1,
                blocks,
                [
                    (
                        COUNT.pack_array(blocks=[end - begin]),
                        self.packed.entries[self.entry_starts[row] + begin : self.entry_starts[row] + end],
                        np.arange(step_starts[begin], step_starts[end]),
                    )
                ],
            )
            # Such weights come no faster than one cluster uses them, so the others stay out.
            others = (Share(),) * (self.config.clusters - 1)
            chunk = dataclasses.replace(chunk, spread=Spread.ROW_TILES, shares=(*chunk.shares, *others))
            is_open = end < len(kept)
            chunks.append(dataclasses.replace(chunk, part=part, fields={**chunk.fields, "open": int(is_open)}))
        return chunks

    def chunk(self, first: int, count: int) -> Chunk:
        """Return the chunk of ``count`` row tiles from ``first`` on."""
        rows = self.block_rows(first, count)
        shares = []
        for own in self.tiles(first, count):
            lists = self.lists(own)
            entries = [self.packed.entries[self.entry_starts[row] : self.entry_starts[row + 1]] for row in lists]
            steps = [np.arange(self.step_starts[tile], self.step_starts[tile + 1]) for tile in own]
            shares.append((COUNT.pack_array(blocks=self.packed.counts[lists]), join(entries), join(steps)))
        return self.build(first, count, np.logical_or.reduce(self.pattern.kept[rows.start : rows.stop]), shares)

    def build(self, first: int, count: int, used: np.ndarray, shares: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Chunk:
        """Return a chunk of row tiles whose windows have the blocks that are ``used``.

        Parameters
        ----------
        first, count : int
            Row tiles.
        used : numpy.ndarray
            Whether the window has each block column.
        shares : list
            Of each cluster words COUNT, words ENTRY with indices of block columns, and which of the packed steps.
        """
        layer = self.operator.layer
        assert layer is not None
        groups = np.flatnonzero(np.repeat(used, self.pattern.column_groups))
        place = np.cumsum(used) - 1  # of each block column among those used
        group = self.pattern.group
        # Where every group is whole, offsets need not be stored.
        is_dense = all((self.packed.offsets[steps] == (np.arange(len(steps)) % group)[:, None]).all() for _, _, steps in shares)

        def share(tiles: range, counts: np.ndarray, packed_entries: np.ndarray, steps: np.ndarray) -> Share:
            if not tiles:
                return Share()
            entries = ENTRY.unpack_array(packed_entries)
            values = self.packed.values[steps]
            channels = self.channels.reshape(-1, self.config.rows)[tiles.start : tiles.stop : tiles.step]
            return Share(
                num_steps=len(steps),
                steps=(values if is_dense else encode_steps(values, self.packed.offsets[steps], group)).tobytes(),
                counts=counts.tobytes(),
                entries=ENTRY.pack_array(index=place[entries["index"]], n_minus_1=entries["n_minus_1"]).tobytes(),
                channels=channels.tobytes(),
            )

        per_tap = 1 if self.operator.kind is not Kind.PRODUCT else self.operator.source.planes(self.config.group_size)
        fields = {
            "block_tiles": -(-count // self.clusters) if self.is_grouped else max(1, self.packed.block_tiles // self.clusters),
            "block_groups_log2": self.pattern.block_groups.bit_length() - 1,
            "block_columns": int(used.sum()),
            "tail_groups": int(self.pattern.column_groups[np.flatnonzero(used)[-1]]),
            "window_words": len(groups),
            "zero_point": layer.output_zero_point,
            "clamp_min": layer.clamp_min,
            "clamp_max": layer.clamp_max,
        }
        own = zip(self.tiles(first, count), shares, strict=False)
        return Chunk(
            first=first,
            row_tiles=count,
            tile_steps=np.array([len(shares[0][2])]) if count == 1 else self.tile_steps[first : first + count],
            words=np.stack(np.divmod(groups, per_tap), axis=1),
            shares=tuple(share(tiles, *parts) for tiles, parts in own),
            is_dense=is_dense,
            fields=fields,
            spread=self.spread,
        )


def join(arrays: list[np.ndarray]) -> np.ndarray:
    """Return arrays one behind the other, of which there may be none."""
    return np.concatenate(arrays) if arrays else np.zeros(0, int)
