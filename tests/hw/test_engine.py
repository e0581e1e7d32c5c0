"""The layer engine: every bit against the golden model, every cycle against the counters' promise."""

import dataclasses

import cocotb
import pytest
from tests.hw.engine_bench import EngineBench, draw_jobs, place_jobs

from crisp.arch import Config
from crisp_hw.engine import LayerEngine
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench

TINY = Config.preset("tiny")
CONFIGS = {
    "tiny": TINY,
}


@cocotb.test()
async def computes_jobs(dut) -> None:
    """Commands of every kind, the next ones loaded while others are at work."""
    config = Config.from_dict(parameters()["config"])
    bench = await Bench.start(dut, mode=parameters()["mode"])
    engine = EngineBench(bench, config)
    jobs = place_jobs(draw_jobs(config, seed=bench.seed, number=parameters()["number"]), config, share=2)
    await engine.run(jobs, share=2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CONFIGS)
def test_engine(name: str, mode: str) -> None:
    config = CONFIGS[name]
    table = {"config": dataclasses.asdict(config), "mode": mode, "number": 30}
    simulate(LayerEngine(config), __file__, name="engine", parameters=table, testcase="computes_jobs")
