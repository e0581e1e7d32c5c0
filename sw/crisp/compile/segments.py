"""Segments: which operators are computed stripe by stripe together, and which tensors between them go through memory.

A segment is a run of operators. Between segments a tensor lies on chip as a whole, or in memory. One operator with one stripe
is the plain order; several operators with many stripes keep what is too large for the chip from ever being stored. The cheapest sequence is
found by dynamic programming over the operators, with the set of tensors in memory as the state.
"""

import dataclasses
import itertools
from collections.abc import Iterable

from .cost import CHUNK_OVERHEAD
from .errors import CompileError
from .operator import Kind
from .plan import Plan
from .stripes import StripePlan, plan_stripes
from .tiles import Tiles

__all__ = ["BUS_WEIGHT", "Segment", "choose_segments"]

#: Longest segment that is tried, in operators.
LONGEST = 18

#: Numbers of stripes that are tried.
STRIPES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 160, 224)

#: How many that fit are compared.
TRIALS = 2

#: What a byte on the bus costs where the array is the slower one, as a part of its time on the bus: energy, and bandwidth for others.
BUS_WEIGHT = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """Operators that are computed together.

    Parameters
    ----------
    first, end : int
        Index of the first operator, and of the one behind the last.
    plan : StripePlan
        Rows of every stripe.
    loaded, stored, kept : frozenset of str
        Tensors that come from memory, go to memory, and stay on chip.
    after : frozenset of str
        Tensors that lie in memory behind it.
    cost : float
        Predicted cost in cycles.
    parts : int
        Parts in which the planes of the loaded tensor are taken one after the other; more than 1 only for a single `Kind.PLANES`.
    tiles : Tiles, optional
        How the planes of a single operator's result are computed one after the other.
    """

    first: int
    end: int
    plan: StripePlan
    loaded: frozenset[str]
    stored: frozenset[str]
    kept: frozenset[str]
    after: frozenset[str]
    cost: float
    parts: int = 1
    tiles: Tiles | None = None


@dataclasses.dataclass(frozen=True)
class Work:
    """Some operators, and where what they read and compute lies: all that their stripes depend on.

    Parameters
    ----------
    first, end : int
        Index of the first operator, and of the one behind the last.
    loaded, stored, kept : frozenset of str
        Tensors that come from memory, go to memory, and stay on chip.
    resident : frozenset of str
        Tensors that they read, and that lie on chip as a whole.
    """

    first: int
    end: int
    loaded: frozenset[str]
    stored: frozenset[str]
    kept: frozenset[str]
    resident: frozenset[str]


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """Work in stripes.

    Parameters
    ----------
    work : Work
        The work.
    plan : StripePlan
        Rows of every stripe.
    words : int
        Words of the activation buffer that it takes, resident tensors not counted.
    is_ahead : bool
        Whether the next stripe is loaded, and the one before stored, while one is computed.
    """

    work: Work
    plan: StripePlan
    words: int
    is_ahead: bool


def choose_segments(network: Plan, capacity: int) -> list[Segment]:
    """Find the cheapest segments.

    Parameters
    ----------
    network : Plan
        The operators.
    capacity : int
        Words of the activation buffer that may be planned with.

    Raises
    ------
    CompileError
        When an operator fits in no way.
    """
    choice = Choice(network, capacity)
    found: list[Segment] = []
    known: dict[object, tuple[int, list[Segment]]] = {}
    state: frozenset[str] = frozenset()
    for first, end in itertools.pairwise((0, *network.bounds, len(network.operators))):
        kind = network.describe(first, end)
        if kind in known:
            before, segments = known[kind]
            segments = [move(segment, network, before, first, state) for segment in segments]
        else:
            segments = choose_between(choice, first, end, state)
            known[kind] = first, segments
        found += segments
        state = found[-1].after
    return found


def choose_between(choice: "Choice", start: int, total: int, state: frozenset[str]) -> list[Segment]:
    """Find the cheapest segments from operator ``start`` to ``total``, before which the tensors of ``state`` lie in memory."""
    network, tight = choice.network, choice.tight
    best: list[dict[frozenset[str], tuple[float, list[Segment]]]] = [{} for _ in range(total + 1)]
    best[start][state] = (0.0, [])
    for first in range(start, total):
        cheapest = min((cost for cost, _ in best[first].values()), default=0.0)
        for state, (cost, path) in best[first].items():
            # What lies in memory although it costs more is of use only where room will be missing.
            if state and cost > cheapest and not any(tight[first:total]):
                continue
            for end in range(first + 1, min(total, first + LONGEST) + 1):
                # Several operators share stripes where something is too large, or comes from memory, and little beyond.
                if (
                    end > first + 1
                    and not (state & choice.used(first, end))
                    and not (tight[first] or any(tight[max(first, end - 3) : end]))
                ):
                    continue
                found = False
                for segment in choice.candidates(first, end, state):
                    found = True
                    price = cost + segment.cost
                    known = best[end].get(segment.after)
                    if known is None or price < known[0]:
                        best[end][segment.after] = (price, [*path, segment])
                if not found and end > first + 4:
                    break
    if not best[total]:
        reached = max(index for index, states in enumerate(best) if states)
        raise CompileError(
            f"{network.operators[reached].name}: does not fit the activation buffer of {network.config.activation_words} words in any way; "
            f"choose a larger configuration or a smaller image"
        )
    return min(best[total].values(), key=lambda entry: entry[0])[1]


def move(segment: Segment, network: Plan, before: int, first: int, state: frozenset[str]) -> Segment:
    """Return a segment that was found for one image for another: its operators begin at ``first`` rather than at ``before``."""
    distance = first - before
    names: dict[str, str] = {}
    for index in range(before, segment.end):
        one, other = network.operators[index], network.operators[index + distance]
        names |= dict(zip((*one.inputs, one.output.name), (*other.inputs, other.output.name), strict=True))

    def rename(tensors: Iterable[str]) -> frozenset[str]:
        return frozenset(names[name] for name in tensors)

    plan, tiles = segment.plan, segment.tiles
    if tiles is not None:
        tiles = dataclasses.replace(
            tiles,
            operator=network.operators[segment.first + distance],
            rings={names[name]: rows for name, rows in tiles.rings.items()},
            loaded=rename(tiles.loaded),
        )
    return dataclasses.replace(
        segment,
        first=segment.first + distance,
        end=segment.end + distance,
        plan=StripePlan(
            ends={names[name]: rows for name, rows in plan.ends.items()},
            rings={names[name]: rows for name, rows in plan.rings.items()},
            homes={names[name]: names[home] for name, home in plan.homes.items()},
        ),
        loaded=rename(segment.loaded),
        stored=rename(segment.stored),
        kept=rename(segment.kept),
        after=rename(name for name in segment.after if name in names) | state_left(network, state, segment.end + distance),
        tiles=tiles,
    )


def state_left(network: Plan, state: frozenset[str], end: int) -> frozenset[str]:
    """Return those tensors in memory that are needed from operator ``end`` on."""
    return frozenset(name for name in state if network.last_use.get(name, -1) >= end)


class Choice:
    """Ways to compute operators together. The same work is met in many states, but looked at once.

    Parameters
    ----------
    network : Plan
        The operators.
    capacity : int
        Words of the activation buffer that may be planned with.
    """

    def __init__(self, network: Plan, capacity: int):
        self.network = network
        self.capacity = capacity
        self.tight = [network.is_tight(index, capacity) for index in range(len(network.operators))]
        self.layouts: dict[tuple[Work, int, bool], Layout] = {}
        self.costs: dict[Layout, float] = {}

    def used(self, first: int, end: int) -> set[str]:
        """Return the tensors that operators read."""
        return {name for operator in self.network.operators[first:end] for name in operator.inputs}

    def candidates(self, first: int, end: int, state: frozenset[str]) -> Iterable[Segment]:
        """Yield ways to compute operators ``first`` to ``end`` when the tensors of ``state`` lie in memory."""
        network = self.network
        operators, used = network.operators[first:end], self.used(first, end)
        produced = [operator.output.name for operator in operators]
        alive = [name for name in produced if network.last_use.get(name, -1) >= end]
        is_last = end == len(network.operators)
        forced = frozenset(produced) & (network.results | network.parked)
        free = [name for name in alive if name not in forced and name not in network.partial]
        choices = [
            forced.union(chosen) for size in range(1 if is_last else min(len(free), 2) + 1) for chosen in itertools.combinations(free, size)
        ]
        loaded = frozenset(name for name in used if name in state or name in network.external)
        resident = network.resident(first, state)
        room = self.capacity - network.whole_words(resident)
        for stored in choices:
            kept = frozenset(alive) - stored
            if stored != forced and not any(self.tight[first : end + 4]):
                continue  # there is room
            inner = [name for name in (*loaded, *(stored - forced)) if name not in network.external]
            if len(operators) > 1 and not inner and network.whole_words((*produced, *loaded)) <= room:
                continue  # nothing is gained over one operator after the other
            if len(operators) > 1 and network.whole_words(kept) > room:
                continue
            work = Work(first, end, loaded, stored, kept, frozenset(resident) & used)
            moved = (state | stored) - network.results
            after = frozenset(name for name in moved if network.last_use.get(name, -1) >= end)
            yield from self.segments(work, after, room)
            yield from self.cut_segments(work, after, room)

    def segments(self, work: Work, after: frozenset[str], room: int) -> Iterable[Segment]:
        """Yield segments that do some work in ``room`` words, with the fewest stripes that fit, and with another number."""
        operators = self.network.operators[work.first : work.end]
        most = min(max(operator.output.height for operator in operators), STRIPES[-1])
        if len(operators) == 1 and not work.loaded and not work.stored:
            most = 1
        counts = [count for count in STRIPES if count <= most and (count > 1 or len(operators) == 1)]
        if not counts:
            return

        def fits(count: int, is_ahead: bool) -> bool:
            layout = self.layout(work, count, is_ahead)
            return layout.words <= room or self.parts(layout, room) > 1

        # Where there is no room to load a stripe while another is computed, each waits for the other.
        is_ahead = fits(counts[0], True) or fits(counts[-1], True)
        # The thinnest stripes need least room. The fewest that fit are sought by halves; then another number is tried, which
        # may divide the rows better.
        low, high = 0, len(counts) - 1
        if not fits(counts[0], is_ahead):
            low = 1
            if not fits(counts[-1], is_ahead):
                return
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if fits(counts[middle], is_ahead) else (middle + 1, high)
        # A few more of those that fit: rows that divide evenly leave fewer lanes empty.
        rows = self.network.operators[work.end - 1].output.height
        even = [count for count in counts[low + TRIALS : low + 3 * TRIALS] if rows % count == 0]
        for count in (*counts[low : low + TRIALS], *even):
            if fits(count, is_ahead):
                layout = self.layout(work, count, is_ahead)
                yield Segment(
                    first=work.first,
                    end=work.end,
                    plan=layout.plan,
                    loaded=work.loaded,
                    stored=work.stored,
                    kept=work.kept,
                    after=after,
                    cost=self.cost(layout),
                    parts=self.parts(layout, room),
                )

    def cut_segments(self, work: Work, after: frozenset[str], room: int) -> Iterable[Segment]:
        """Yield segments of one operator whose result goes to memory, some row tiles at a time, with the fewest stripes that fit."""
        network = self.network
        operator = network.operators[work.first]
        output = operator.output
        is_one = work.end == work.first + 1 and work.stored and not work.kept and operator.image is None
        if not is_one or operator.kind is Kind.PLANES or output.pixels <= network.config.columns:
            return
        chunks = network.chunks[operator.name]
        row_tiles, longest = sum(chunk.row_tiles for chunk in chunks), max(chunk.row_tiles for chunk in chunks)
        found = 0
        for stripes in STRIPES:
            if stripes > output.height or found == TRIALS:
                break
            layout = self.layout(work, stripes, True)
            if layout.plan.homes[output.name] in work.resident:  # a sum in the place of what it adds, which is all there
                return
            ways = (self.most_tiles(layout, copies, room, longest) for copies in ((2, 1) if stripes == 1 else (1,)))
            tiles = next((way for way in ways if way is not None), None)
            if tiles is None:
                continue
            parts = -(-row_tiles // tiles.most)
            tiles = dataclasses.replace(tiles, most=-(-row_tiles // parts))
            cost = self.cut_cost(layout, tiles, parts)
            yield Segment(work.first, work.end, layout.plan, work.loaded, work.stored, work.kept, after, cost, tiles=tiles)
            found += 1

    def most_tiles(self, layout: Layout, copies: int, room: int, longest: int) -> Tiles | None:
        """Return the most row tiles, up to ``longest``, of which ``copies`` parts fit ``room``; None where not one does."""
        network, plan = self.network, layout.plan
        one = Tiles(network.operators[layout.work.first], 1, copies, plan.rings, layout.work.loaded)
        names = [name for name in plan.rings if plan.homes[name] == name]
        each = sum(one.words(network, name) for name in names if one.is_cut(name))
        most = min((room - sum(one.words(network, name) for name in names if not one.is_cut(name))) // each, longest)
        return dataclasses.replace(one, most=most) if most >= 1 else None

    def cut_cost(self, layout: Layout, tiles: Tiles, parts: int) -> float:
        """Return the predicted cycles of an operator that is computed in parts, and what its bytes on the bus cost."""
        network, operator, plan, work = self.network, tiles.operator, layout.plan, layout.work
        rows = [high - low for low, high in (plan.rows(operator.output.name, stripe) for stripe in range(plan.stripes)) if high > low]
        each = 1 if operator.kind in (Kind.DEPTHWISE, Kind.MAX) else parts  # parts of a product gather the same windows again
        compute = sum(max(network.operator_cycles(operator, number), each * network.gather_cycles(operator, number)) for number in rows)
        compute += parts * len(rows) * CHUNK_OVERHEAD
        moved = sum(chunk.weight_bytes for chunk in network.chunks[operator.name])
        for name in (*work.loaded, *work.stored):
            times = 1 if tiles.is_cut(name) or plan.stripes == 1 else parts
            moved += times * network.whole_bytes(name)
        start = sum(network.load_cycles(name, plan.ends[name][0]) / (parts if tiles.is_cut(name) else 1) for name in work.loaded)
        start += network.load_cycles(operator.output.name, rows[-1]) / parts
        return self.price(compute, moved, start, is_ahead=tiles.copies == 2 or plan.stripes > 1)

    def price(self, compute: int, moved: int, start: float, *, is_ahead: bool) -> float:
        """Return what cycles of the array and bytes on the bus cost together, one beside the other or behind it, after ``start`` cycles."""
        bus = moved / self.network.config.beat_bytes
        return (max(compute, bus) if is_ahead else compute + bus) + BUS_WEIGHT * bus + start

    def layout(self, work: Work, stripes: int, is_ahead: bool) -> Layout:
        """Return some work in stripes."""
        key = work, stripes, is_ahead
        if key not in self.layouts:
            network = self.network
            operators = network.operators[work.first : work.end]
            steps = {operator.output.name: operator.row_step for operator in operators if operator.row_step > 1}
            steps |= {name: network.row_steps(name) for name in (*work.loaded, *work.stored)}
            kept, loaded, stored, resident = (
                {name: network.tensors[name] for name in sorted(names)} for names in (work.kept, work.loaded, work.stored, work.resident)
            )
            plan = plan_stripes(
                operators,
                stripes=stripes,
                kept=kept,
                loaded=loaded,
                stored=stored,
                resident=resident,
                steps=steps,
                in_place={
                    operator.output.name: operator.beside
                    for index, operator in enumerate(operators, work.first)
                    if operator.beside is not None and network.last_use[operator.beside] == index
                },
                is_ahead=is_ahead,
            )
            words = sum(network.words(name, rows) for name, rows in plan.rings.items() if plan.homes[name] == name)
            self.layouts[key] = Layout(work, plan, words, is_ahead)
        return self.layouts[key]

    def parts(self, layout: Layout, room: int) -> int:
        """Return in how many parts the planes of a global average's source are loaded: more than 1 where they do not fit together."""
        work, network = layout.work, self.network
        operator = network.operators[work.first]
        if work.end > work.first + 1 or operator.kind is not Kind.PLANES or not work.loaded:
            return 1
        source = operator.source
        planes, pitch = source.planes(network.config.group_size), network.pitch(source.name, source.height)
        spare = room - layout.words + planes * pitch
        return -(-planes // (spare // pitch)) if spare >= pitch else 1

    def cost(self, layout: Layout) -> float:
        """Return the predicted cycles of some work in stripes, and what its bytes on the bus cost."""
        if layout not in self.costs:
            network, work, plan = self.network, layout.work, layout.plan
            operators = network.operators[work.first : work.end]
            compute = sum(
                network.operator_cycles(operator, high - low)
                for operator in operators
                for low, high in (plan.rows(operator.output.name, stripe) for stripe in range(plan.stripes))
                if high > low
            )
            moved = sum(network.whole_bytes(name) for name in (*work.loaded, *work.stored))
            weights = sum(chunk.weight_bytes for operator in operators for chunk in network.chunks[operator.name])
            moved += weights * (plan.stripes if plan.stripes > 1 and not network.weights_stay(work.first, work.end) else 1)
            # Nothing is computed before the first rows are there; what the last stripe stores, something may be waiting for.
            edges = [(name, plan.rows(name, 0)) for name in work.loaded]
            edges += [(name, plan.rows(name, plan.stripes - 1)) for name in work.stored]
            start = sum(network.load_cycles(name, high - low) for name, (low, high) in edges)
            self.costs[layout] = self.price(compute, moved, start, is_ahead=layout.is_ahead)
        return self.costs[layout]
