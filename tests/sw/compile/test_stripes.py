"""Stripes: every row that an operator reads exists and is still in its ring, for random operators, against rings row by row."""

import dataclasses

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crisp.compile.operator import Kind, Operator, Tensor
from crisp.compile.stripes import StripePlan, plan_stripes
from crisp.golden import Window

SAME = Window(kernel=(3, 1), padding=(1, 0))


def operator(name: str, source: Tensor, window: Window, kind: Kind = Kind.PRODUCT, **fields) -> Operator:
    """Return an operator over rows; columns and channels play no part."""
    height, _ = window.output_size(source.height, 1) if kind is not Kind.PLANES else (1, 1)
    return Operator(name=name, kind=kind, source=source, output=Tensor(name, height, 1, 4), window=window, taps=(), pad=0, **fields)


@dataclasses.dataclass
class Case:
    """Arguments of `plan_stripes`."""

    operators: list[Operator]
    arguments: dict

    def plan(self) -> StripePlan:
        return plan_stripes(self.operators, **self.arguments)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Some operators in order, each over an earlier tensor, some with a sum; what is in memory and what stays; stripes."""
    first = Tensor("first", draw(st.integers(1, 20)), 1, 4)
    tensors = {"first": first}
    operators: list[Operator] = []
    for number in range(draw(st.integers(1, 6))):
        source = draw(st.sampled_from(list(tensors.values())[-3:]))
        kind = draw(st.sampled_from([Kind.PRODUCT, Kind.PRODUCT, Kind.MAX, Kind.DEPTHWISE, Kind.PLANES]))
        kernel, dilation = draw(st.sampled_from([(1, 1), (2, 1), (3, 1), (3, 2), (5, 1)]))
        extent = dilation * (kernel - 1) + 1
        padding = (draw(st.integers(0, extent // 2)), 0)
        window = Window(kernel=(kernel, 1), stride=(draw(st.integers(1, 2)), 1), padding=padding, dilation=(dilation, 1))
        if kind is Kind.PLANES:
            window = Window(kernel=(source.height, 1))
        assume(source.height + 2 * padding[0] >= extent)
        new = operator(f"tensor{number}", source, window, kind, row_step=4 if kind is Kind.DEPTHWISE else 1)
        others = [name for name, tensor in tensors.items() if tensor.height == new.output.height]
        if kind in (Kind.PRODUCT, Kind.MAX) and others and draw(st.booleans()):
            new = dataclasses.replace(new, residual=draw(st.sampled_from(others)))
        operators.append(new)
        tensors[new.output.name] = new.output
    produced = {op.output.name: op.output for op in operators}
    stays = draw(st.lists(st.sampled_from(list(produced)), unique=True))
    stored = {name: produced[name] for name in stays if draw(st.booleans())}
    kept = {name: produced[name] for name in stays if name not in stored}
    is_loaded = draw(st.booleans())
    last = {name: op.name for op in operators for name in op.inputs}
    steps = {op.output.name: op.row_step for op in operators if op.row_step > 1}
    for name in (*stored, *(["first"] if is_loaded else [])):
        if draw(st.booleans()):
            steps[name] = max(steps.get(name, 1), draw(st.sampled_from([2, 4])))
    return Case(
        operators,
        {
            "stripes": draw(st.integers(1, 12)),
            "kept": kept,
            "loaded": {"first": first} if is_loaded else {},
            "stored": stored,
            "resident": {} if is_loaded else {"first": first},
            "steps": steps,
            "in_place": {op.output.name: op.residual for op in operators if op.residual and last[op.residual] == op.name},
            "is_ahead": draw(st.booleans()),
        },
    )


class Rings:
    """Rings row by row: each place knows which row of which tensor it holds."""

    def __init__(self, case: Case, plan: StripePlan):
        self.plan = plan
        rows = {plan.homes[name]: ring for name, ring in plan.rings.items()}
        rows |= {name: tensor.height for name, tensor in case.arguments["resident"].items()}
        self.places: dict[str, list[tuple[str, int] | None]] = {home: [None] * ring for home, ring in rows.items()}
        for name, tensor in case.arguments["resident"].items():
            self.write(name, 0, tensor.height)

    def write(self, name: str, low: int, high: int) -> None:
        places = self.places[self.plan.homes[name]]
        for row in range(low, high):
            places[row % len(places)] = (name, row)

    def holds(self, name: str, row: int) -> bool:
        places = self.places[self.plan.homes[name]]
        return places[row % len(places)] == (name, row)


def rows_seen(op: Operator, low: int, high: int) -> set[int]:
    """Return the rows of the source that output rows see, tap by tap."""
    if op.kind is Kind.PLANES:
        return set(range(op.source.height))
    stride, padding, dilation = op.window.stride[0], op.window.padding[0], op.window.dilation[0]
    rows = {row * stride - padding + tap * dilation for row in range(low, high) for tap in range(op.window.kernel[0])}
    return {row for row in rows if 0 <= row < op.source.height}


def simulate(case: Case, plan: StripePlan) -> None:
    """Compute stripe by stripe; the worst that waits allow is that each row is overwritten as soon as it may be."""
    rings, arguments = Rings(case, plan), case.arguments
    fetched: dict[str, list[int]] = {name: [] for name in arguments["stored"]}
    for stripe in range(arguments["stripes"]):
        for name in arguments["loaded"]:
            rings.write(name, *plan.rows(name, stripe))
        for op in case.operators:
            name = op.output.name
            low, high = plan.rows(name, stripe)
            assert low <= high
            assert low % op.row_step == 0 or low >= op.output.height
            if high == low:
                continue
            end = min(high, op.output.height)
            # A product gathers while it writes: where both share a ring, the words that it reads must not be among those it writes.
            if plan.homes[name] == plan.homes.get(op.source.name) and not op.is_copy:
                rings.write(name, low, high)
            for row in rows_seen(op, low, end):
                assert rings.holds(op.source.name, row), f"{name} at stripe {stripe} needs row {row} of {op.source.name}"
            for row in range(low, end) if op.residual else ():
                assert rings.holds(op.residual, row), f"{name} at stripe {stripe} adds row {row} of {op.residual}"
            rings.write(name, low, high)
            if name in fetched:
                assert low % arguments["steps"].get(name, 1) == 0
                fetched[name] += [row for row in range(low, end) if rings.holds(name, row)]
    for name, rows in fetched.items():
        assert rows == list(range(case.arguments["stored"][name].height)), f"{name} must be stored, each row once"
    for name, tensor in arguments["kept"].items():
        assert all(rings.holds(name, row) for row in range(tensor.height)), f"{name} must lie on chip behind the segment"


@settings(max_examples=300)
@given(cases())
def test_every_row_is_there_when_it_is_needed(case: Case) -> None:
    plan = case.plan()
    assert plan.stripes == case.arguments["stripes"]
    simulate(case, plan)


@settings(max_examples=100)
@given(cases())
def test_rings_are_no_larger_than_the_tensor_and_multiples_of_its_steps(case: Case) -> None:
    plan = case.plan()
    tensors = {op.output.name: op.output for op in case.operators} | case.arguments["loaded"]
    assert set(plan.rings) == set(tensors) == set(plan.ends)
    for name, ring in plan.rings.items():
        # What lies in one place has one ring, of rows that suit all of it.
        members = [other for other in plan.rings if plan.homes[other] == plan.homes[name]]
        step = max(case.arguments["steps"].get(other, 1) for other in members)
        assert 0 < ring < tensors[name].height + step
        assert ring % step == 0 or ring >= plan.ends[name][-1], "a ring wraps only where a stripe may begin"


def test_a_chain_in_stripes() -> None:
    """Rows by hand: two 3x3 convolutions over 12 rows in 3 stripes of 4; the first is two rows ahead of the second."""
    first = Tensor("first", 12, 1, 4)
    a = operator("a", first, SAME)
    b = operator("b", a.output, SAME)
    common = {"stripes": 3, "kept": {}, "stored": {"b": b.output}, "resident": {}, "steps": {}, "in_place": {}}
    plan = plan_stripes([a, b], loaded={"first": first}, **common)
    assert plan.ends == {"first": [6, 10, 12], "a": [5, 9, 12], "b": [4, 8, 12]}
    assert plan.rings == {"first": 10, "a": 6, "b": 8}
    assert plan_stripes([a, b], loaded={"first": first}, **common, is_ahead=False).rings == {"first": 6, "a": 6, "b": 4}
    assert [plan.rows("b", stripe) for stripe in range(3)] == [(0, 4), (4, 8), (8, 12)]


def residual(window: Window, source: str = "a") -> Case:
    """Return a sum with ``a`` behind a convolution of it, or behind a copy of another tensor."""
    first = Tensor("first", 8, 1, 4)
    a, other = operator("a", first, SAME), operator("other", first, SAME)
    tensors = {"a": a.output, "other": other.output}
    total = operator("sum", tensors[source], window, Kind.MAX if window == Window() else Kind.PRODUCT, residual="a")
    arguments = {"stripes": 1, "kept": {"sum": total.output}, "loaded": {}, "stored": {}, "resident": {"first": first}}
    return Case([a, other, total], {**arguments, "steps": {}, "in_place": {"sum": "a"}})


def test_sums_in_place() -> None:
    assert residual(SAME, "other").plan().homes["sum"] == "a"
    assert residual(Window(), "a").plan().homes["sum"] == "a", "a copy reads each word before it writes it"
    assert residual(SAME, "a").plan().homes["sum"] == "sum", "a product reads what its first results would overwrite"


def test_a_sum_does_not_take_the_place_of_what_others_still_need() -> None:
    """``later`` adds a shifted view of ``a`` in every stripe, so it reaches above the rows that the sum would overwrite."""
    case = residual(SAME, "other")
    later = operator("later", case.operators[0].output, SAME)
    operators = [*case.operators[:2], later, case.operators[2]]
    kept = {"later": later.output, "sum": case.operators[2].output}
    whole = plan_stripes(operators, **{**case.arguments, "kept": kept})
    assert whole.homes["sum"] == "a"
    striped = plan_stripes(operators, **{**case.arguments, "kept": {}, "stored": kept, "stripes": 4})
    assert striped.homes["sum"] == "sum"


def test_what_leaves_the_chip_or_stays_keeps_its_place() -> None:
    case = residual(SAME, "other")
    for name in ("stored", "kept"):
        arguments = {**case.arguments, name: {**case.arguments[name], "a": case.operators[0].output}}
        assert plan_stripes(case.operators, **arguments).homes["sum"] == "sum"


def test_no_rows_beyond_the_image() -> None:
    """Stripes of two rows of an image of five: the last has one. Only what is computed several rows at a time goes beyond."""
    first = Tensor("first", 5, 1, 4)
    arguments = {"stripes": 2, "kept": {}, "loaded": {}, "resident": {"first": first}, "in_place": {}}
    for kind, row_step, ends in ((Kind.PRODUCT, 1, [4, 5]), (Kind.DEPTHWISE, 4, [4, 8])):
        one = operator("one", first, SAME, kind, row_step=row_step)
        assert plan_stripes([one], **arguments, steps={"one": max(2, row_step)}, stored={"one": one.output}).ends["one"] == ends


def test_tables_of_rows_are_what_the_operator_says() -> None:
    first = Tensor("first", 9, 1, 4)
    op = operator("a", first, Window(kernel=(3, 1), stride=(2, 1), padding=(1, 0)), residual="b")
    assert op.last_rows.tolist() == [op.last_row(end) for end in range(op.output.height + 1)]
    starts = np.arange(12)
    for name in ("first", "b"):
        assert op.first_needed_rows(name, starts).tolist() == [op.first_needed(name, start) for start in starts]
    both = dataclasses.replace(op, residual="first")
    assert both.first_needed_rows("first", starts).tolist() == [both.first_needed("first", start) for start in starts]
    mean = operator("mean", first, Window(kernel=(9, 1)), Kind.PLANES)
    assert mean.first_needed_rows("first", starts).tolist() == [0] * 12
