import pytest

from crisp.prune import Order, PruneError, PruneOptions, Schedule
from crisp.prune.schedule import plan_goals, ramp


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule.GEOMETRIC, [0.25, 0.125, 0.0625]),
        (Schedule.LINEAR, [0.5 - 0.4375 / 3, 0.5 - 2 * 0.4375 / 3, 0.0625]),
        (Schedule.CUBIC, [0.0625 + 0.4375 * 8 / 27, 0.0625 + 0.4375 / 27, 0.0625]),
    ],
)
def test_ramps(schedule, expected):
    assert ramp(0.5, 0.0625, 3, schedule) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", Schedule)
@pytest.mark.parametrize("order", Order)
def test_goals_rise_to_what_is_asked(schedule, order):
    options = PruneOptions(sparsity=0.9, cycles=0.2, iterations=5, schedule=schedule, order=order, n=2, per_block=False)
    goals = plan_goals(options, 1000, len)
    assert len(goals) == 5
    assert goals[-1].sparsity == pytest.approx(0.9)
    assert goals[-1].cycles in (199, 200)
    assert [goal.sparsity for goal in goals] == sorted(goal.sparsity for goal in goals)
    assert [goal.cycles for goal in goals] == sorted((goal.cycles for goal in goals), reverse=True)
    assert all(goal.measure is len for goal in goals)


def test_orders():
    together, first, last = (plan_goals(PruneOptions(sparsity=0.9, n=2, per_block=False, iterations=3, order=order)) for order in Order)
    assert [goal.n for goal in together] == [2, 2, 2]
    assert together[0].sparsity > 0.5
    assert [goal.n for goal in first] == [2, 2, 2]
    assert first[0].sparsity == 0.5  # what 2:4 takes, and no block
    assert [goal.n for goal in last] == [4, 4, 2]
    assert last[1].sparsity == pytest.approx(0.8)  # half of the rest goes with 2:4


def test_padding_leaves_more_than_n_of_m():
    goals = plan_goals(PruneOptions(sparsity=0.9, n=2, per_block=False, iterations=3, order=Order.NM_FIRST), whole=0.6)
    assert goals[0].sparsity == pytest.approx(0.4)


@pytest.mark.parametrize("order", [Order.NM_FIRST, Order.BLOCKS_FIRST])
@pytest.mark.parametrize("settings", [{"n": 4, "per_block": False}, {"n": 2, "per_block": True}])
def test_one_part_of_the_pattern_can_come_first_only_where_there_are_two(order, settings):
    with pytest.raises(PruneError, match=rf"order must be together where .* not {order.value}; .* set per_block to false and n below 4"):
        PruneOptions(order=order, **settings)


def test_nothing_is_asked_of_cycles_where_there_is_no_budget():
    assert all(goal.cycles is None for goal in plan_goals(PruneOptions(), 1000, len))


def test_settings_survive_json():
    options = PruneOptions(sparsity=0.8, order=Order.NM_FIRST, n=2, per_block=False, keep_dense=("a",), cycles=0.5)
    assert PruneOptions.from_dict(options.to_dict()) == options
    assert PruneOptions.from_dict(PruneOptions().to_dict()) == PruneOptions()


def test_with_cycles_alone_nothing_is_asked_of_sparsity():
    assert PruneOptions.from_dict({"cycles": 0.5}).sparsity == 0
    assert PruneOptions.from_dict({"cycles": 0.5, "sparsity": 0.8}).sparsity == 0.8
    assert PruneOptions.from_dict({}).sparsity == 0.9
