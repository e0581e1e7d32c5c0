"""Segments: which operators are computed stripe by stripe together, and which tensors between them go through memory.

A segment is a run of operators. Between segments a tensor lies on chip as a whole, or in memory. One operator with one stripe
is the plain order; several operators with many stripes keep what is too large for the chip from ever being stored. The cheapest sequence is
found by dynamic programming over the operators, with the set of tensors in memory as the state.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from crisp.arch import CHANNEL, COUNT, ENTRY, Config

from .buffers import Ring
from .chunks import Chunk
from .cost import execute_cycles
from .errors import CompileError
from .operator import Kind, Operator, Tensor
from .stripes import StripePlan, plan_stripes

__all__ = ["Plan", "Segment", "choose_segments", "home_pitch"]

#: Longest segment that is tried, in operators.
LONGEST = 18

#: Numbers of stripes that are tried.
STRIPES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112)

#: How many that fit are compared.
TRIALS = 2

#: What a byte on the bus costs where the array is the slower one, as a part of its time on the bus: energy, and bandwidth for others.
BUS_WEIGHT = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Operators, and what is known of the tensors between them.

    Parameters
    ----------
    operators : sequence of Operator
        In order.
    chunks : dict
        Chunks of every operator, by its name.
    source : Tensor
        The network's input.
    tensors : dict
        All tensors by name.
    config : Config
        The machine.
    """

    operators: Sequence[Operator]
    chunks: dict[str, list[Chunk]]
    source: Tensor
    tensors: dict[str, Tensor]
    config: Config

    def __post_init__(self) -> None:
        last: dict[str, int] = {}
        for index, operator in enumerate(self.operators):
            for name in operator.inputs:
                last[name] = index
        last[self.operators[-1].output.name] = len(self.operators)
        object.__setattr__(self, "last_use", last)
        object.__setattr__(self, "split", split_tensors(self.operators))
        object.__setattr__(self, "born", {operator.output.name: index for index, operator in enumerate(self.operators)})
        object.__setattr__(self, "odd", {operator.source.name for operator in self.operators if operator.kind is Kind.PLANES})

    last_use: dict[str, int] = dataclasses.field(init=False)
    born: dict[str, int] = dataclasses.field(init=False)
    odd: set[str] = dataclasses.field(init=False)
    split: set[str] = dataclasses.field(init=False)

    def is_tight(self, index: int, capacity: int) -> bool:
        """Tell whether all that is alive around operator ``index`` exceeds ``capacity`` words."""
        operator = self.operators[index]
        alive = {name for name in self.tensors if not self.is_external(name) and self.born[name] < index <= self.last_use.get(name, -1)}
        return whole_words(self, alive | {operator.source.name, operator.output.name}) > capacity

    def is_external(self, name: str) -> bool:
        """Tell whether a tensor comes from the host: the input, or patches of it."""
        return name == self.source.name or any(op.patches is not None and op.source.name == name for op in self.operators[:1])

    def row_steps(self, name: str) -> int:
        """Return the rows that a stripe of ``name`` in memory must be a multiple of, so that it begins at a word of the bus.

        Only what the host brings or fetches has its rows one behind the other in any case.
        """
        tensor = self.tensors[name]
        if not self.is_external(name) and name != self.operators[-1].output.name:
            return 1
        step = 1
        while step < tensor.height and step * tensor.width * self.config.group_size % self.config.beat_bytes:
            step += 1
        return step


def split_tensors(operators: Sequence[Operator]) -> set[str]:
    """Return the tensors whose even columns shall lie before the odd ones.

    Windows two columns apart meet in half of the banks. That costs time where each of them is used once, in pooling and depthwise
    convolution; it does not where the even columns are neighbours. An operator computes those of its result first, then the others.
    """
    split = set()
    for operator in operators:
        name, consumers = operator.output.name, [other for other in operators if operator.output.name in other.inputs]
        apart = all(
            other.residual != name and other.kind in (Kind.MAX, Kind.DEPTHWISE) and other.window.stride[1] == 2 for other in consumers
        )
        if consumers and apart and operator.kind is not Kind.PLANES and operator.residual is None and operator.output.width % 2 == 0:
            split.add(name)
    return split


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
    before, after : frozenset of str
        Tensors that lie in memory before and after it.
    cost : float
        Predicted cost in cycles.
    parts : int
        Parts in which the planes of the loaded tensor are taken one after the other; more than 1 only for a single `Kind.PLANES`.
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


def home_pitch(network: Plan, name: str, rows: int) -> int:
    """Return the words from one plane of a tensor's ring to the next: odd where planes are read side by side."""
    pixels = rows * network.tensors[name].width
    return pixels | 1 if name in network.odd and pixels > 1 else pixels


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
    total = len(network.operators)
    tight = [network.is_tight(index, capacity) for index in range(total)]
    best: list[dict[frozenset[str], tuple[float, list[Segment]]]] = [{} for _ in range(total + 1)]
    best[0][frozenset()] = (0.0, [])
    for first in range(total):
        cheapest = min((cost for cost, _ in best[first].values()), default=0.0)
        for state, (cost, path) in best[first].items():
            # What lies in memory although it costs more is of use only where room will be missing.
            if state and cost > cheapest and not any(tight[first:]):
                continue
            for end in range(first + 1, min(total, first + LONGEST) + 1):
                # Several operators share stripes where something is too large, or comes from memory, and little beyond.
                if (
                    end > first + 1
                    and not (state & used_by(network, first, end))
                    and not (tight[first] or any(tight[max(first, end - 3) : end]))
                ):
                    continue
                found = False
                for segment in candidates(network, first, end, state, capacity, tight):
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


def candidates(network: Plan, first: int, end: int, state: frozenset[str], capacity: int, tight: Sequence[bool]) -> list[Segment]:
    """Return ways to compute operators ``first`` to ``end`` when the tensors of ``state`` lie in memory."""
    operators = network.operators[first:end]
    produced = [operator.output.name for operator in operators]
    alive = [name for name in produced if network.last_use.get(name, -1) >= end]
    is_last = end == len(network.operators)
    choices = (
        [frozenset(produced[-1:])]
        if is_last
        else [frozenset(chosen) for size in range(min(len(alive), 2) + 1) for chosen in itertools.combinations(alive, size)]
    )
    used = {name for operator in operators for name in operator.inputs}
    loaded = frozenset(name for name in used if name in state or network.is_external(name))
    resident = [
        name
        for name in network.tensors
        if name not in state and not network.is_external(name) and network.born[name] < first <= network.last_use.get(name, -1)
    ]
    taken = whole_words(network, resident)
    segments = []
    for stored in choices:
        kept = frozenset(alive) - stored
        after = frozenset(name for name in (*state, *stored) if network.last_use.get(name, -1) >= end and not (is_last and name in stored))
        if stored and not (is_last and stored == choices[0]) and not any(tight[first : min(end + 4, len(tight))]):
            continue  # there is room
        inner = [name for name in (*loaded, *stored) if not network.is_external(name) and not (is_last and name == produced[-1])]
        if len(operators) > 1 and not inner and whole_words(network, (*produced, *loaded)) <= capacity - taken:
            continue  # nothing is gained over one operator after the other
        most = min(max(network.operators[end - 1].output.height, max(op.output.height for op in operators)), STRIPES[-1])
        if len(operators) == 1 and not loaded and not stored:
            most = 1
        counts = [count for count in STRIPES if count <= most and (count > 1 or len(operators) == 1)]
        if len(operators) > 1 and whole_words(network, kept) > capacity - taken:
            continue

        # Where there is no room to load a stripe while another is computed, each waits for the other.
        is_ahead = not counts or any(
            evaluate(network, first, end, count, loaded, stored, kept, resident, after, capacity - taken)
            for count in counts[:1] + counts[-1:]
        )

        def attempt(
            count: int,
            stored: frozenset[str] = stored,
            kept: frozenset[str] = kept,
            after: frozenset[str] = after,
            is_ahead: bool = is_ahead,
        ) -> Segment | None:
            return evaluate(network, first, end, count, loaded, stored, kept, resident, after, capacity - taken, is_ahead=is_ahead)

        # The thinnest stripes need least room. The fewest that fit are sought by halves; then another number is tried, which
        # may divide the rows better.
        low, high = 0, len(counts) - 1
        if counts and attempt(counts[0]) is None:
            low = 1
            if attempt(counts[-1]) is None:
                continue
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if attempt(counts[middle]) is not None else (middle + 1, high)
        found = (attempt(count) for count in counts[low : low + TRIALS])
        segments += [segment for segment in found if segment is not None]
    return segments


def whole_words(network: Plan, names: Iterable[str]) -> int:
    """Return the words that tensors take as a whole."""
    tensors, group = network.tensors, network.config.group_size
    return sum(tensors[name].planes(group) * home_pitch(network, name, tensors[name].height) for name in names)


def evaluate(
    network: Plan,
    first: int,
    end: int,
    stripes: int,
    loaded: frozenset[str],
    stored: frozenset[str],
    kept: frozenset[str],
    resident: Sequence[str],
    after: frozenset[str],
    room: int,
    *,
    is_ahead: bool = True,
) -> Segment | None:
    """Return the segment with ``stripes`` stripes, or None where it does not fit ``room`` words."""
    config, tensors = network.config, network.tensors
    operators = network.operators[first:end]
    steps = {operator.output.name: operator.row_step for operator in operators if operator.row_step > 1}
    for name in (*loaded, *stored):
        if tensors[name].height > 1:
            steps[name] = max(steps.get(name, 1), 1 if name in patched(network) else network.row_steps(name))
    in_place = {
        operator.output.name: operator.residual
        for index, operator in enumerate(operators, first)
        if operator.residual is not None and network.last_use[operator.residual] == index
    }
    plan = plan_stripes(
        operators,
        stripes=stripes,
        kept={name: tensors[name] for name in kept},
        loaded={name: tensors[name] for name in loaded},
        stored={name: tensors[name] for name in stored},
        resident={name: tensors[name] for name in resident},
        steps=steps,
        in_place=in_place,
        is_ahead=is_ahead,
    )
    words = 0
    for name in plan.rings:
        if plan.homes[name] == name:
            words += tensors[name].planes(config.group_size) * home_pitch(network, name, plan.rings[name])
    parts = 1
    if len(operators) == 1 and operators[0].kind is Kind.PLANES and loaded:
        source = tensors[operators[0].source.name]
        planes = source.planes(config.group_size)
        spare = room - words + planes * home_pitch(network, source.name, source.height)
        if spare >= home_pitch(network, source.name, source.height):
            parts = max(1, -(-planes // (spare // home_pitch(network, source.name, source.height))))
    if words > room and parts == 1:
        return None
    compute = 0
    for operator in operators:
        for stripe in range(stripes):
            low, high = plan.rows(operator.output.name, stripe)
            if high > low:
                phases = [2 if name in network.split else 1 for name in (operator.source.name, operator.output.name)]
                compute += sum(execute_cycles(operator, chunk, low, high, config, *phases) for chunk in network.chunks[operator.name])
    moved = sum(tensors[name].planes(config.group_size) * tensors[name].pixels * config.group_size for name in (*loaded, *stored))
    weights = sum(chunk.weight_bytes for operator in operators for chunk in network.chunks[operator.name])
    moved += weights * (stripes if stripes > 1 and not weights_stay(network, operators) else 1)
    bus = moved / config.beat_bytes
    # Nothing is computed before the first rows are there; what the last stripe stores, something may be waiting for.
    start = sum(load_cycles(network, name, plan.rows(name, 0)[1]) for name in loaded)
    start += sum(load_cycles(network, name, height(plan, name)) for name in stored)
    return Segment(
        first,
        end,
        plan,
        loaded,
        stored,
        kept,
        after,
        (max(compute, bus) if is_ahead else compute + bus) + BUS_WEIGHT * bus + start,
        parts=parts,
    )


def height(plan: StripePlan, name: str) -> int:
    """Return the rows of a tensor's last stripe."""
    low, high = plan.rows(name, plan.stripes - 1)
    return high - low


def load_cycles(network: Plan, name: str, rows: int) -> int:
    """Return the cycles in which rows of a tensor are loaded or stored: a word a cycle where an image is cut into patches."""
    tensor, config = network.tensors[name], network.config
    words = rows * tensor.width * tensor.planes(config.group_size)
    return words if name in patched(network) else words * config.group_size // config.beat_bytes


def used_by(network: Plan, first: int, end: int) -> set[str]:
    """Return the tensors that operators read."""
    return {name for operator in network.operators[first:end] for name in operator.inputs}


def patched(network: Plan) -> set[str]:
    """Return the tensors that are loaded as patches."""
    return {operator.source.name for operator in network.operators if operator.patches is not None}


def weights_stay(network: Plan, operators: Sequence[Operator]) -> bool:
    """Tell whether the weights of all operators fit their buffers together."""
    config = network.config
    chunks = [chunk for operator in operators for chunk in network.chunks[operator.name]]
    needs = {
        "weight_buffer_depth": [chunk.num_steps for chunk in chunks],
        "entry_buffer_depth": [len(chunk.entries) // ENTRY.num_bytes for chunk in chunks],
        "channel_buffer_depth": [len(chunk.channels) // CHANNEL.num_bytes for chunk in chunks],
        "block_row_buffer_depth": [len(chunk.counts) // COUNT.num_bytes for chunk in chunks],
        "run_buffer_depth": [chunk.num_runs for chunk in chunks],
    }
    for name, sizes in needs.items():
        if sum(sizes) > getattr(config, name):
            return False
        ring = Ring(name, getattr(config, name))
        for number, size in enumerate(sizes):
            ring.take(number, size, name)
        if len(ring.pieces) < len(sizes):
            return False
    return True
