"""The machine as a whole keeps one step a cycle, and simulates at a speed that is told."""

import json

import pytest

from crisp.arch import IDLE_CAUSES, Config
from crisp.bench.simulation_speed import measure_speed
from crisp.bench.steady_state import ABSENT, SteadyState, measure_steady_state
from crisp.runtime import Accelerator

TINY = Config.preset("tiny")


@pytest.mark.parametrize("n", [1, 2, 3, 4, "mixed"])
def test_no_bubble(n: int | str) -> None:
    """Every share of absent blocks: each cycle that another pixel tile takes has a step."""
    records = list(measure_steady_state(Accelerator(TINY), [n], pixel_tiles=8))
    assert [record.absent for record in records] == list(ABSENT)
    for record in records:
        assert record.bubbles == 0, record
        assert record.utilization == 1
        assert record.counters["total"] == record.bound == record.steps >= record.window_words
        assert record.counters["total"] == record.counters["active"] + sum(record.counters[cause] for cause in IDLE_CAUSES)
    assert json.loads(json.dumps(records[0].to_dict()))["utilization"] == 1


def test_figures() -> None:
    record = SteadyState(n="2", group=4, absent=0.5, tile_steps=5, steps=80, window_words=90, counters={"total": 100})
    assert (record.bubbles, record.utilization, record.bound) == (20, 0.8, 90)


def test_speed() -> None:
    record = measure_speed(TINY, seconds=0.01)
    dense, sparse = record["runs"]
    assert (dense["layer"], dense["density"], sparse["layer"], sparse["density"]) == ("dense", 1, "sparse", 0.125)
    assert dense["cycles_of_a_run"] > 3 * sparse["cycles_of_a_run"]
    assert min(run["cycles_per_second"] for run in record["runs"]) > 0
