"""The engine's tests bite: hardware with one small fault each does not pass what whole hardware passes."""

import dataclasses
import importlib
import inspect
import sys
from types import ModuleType

import numpy as np
import pytest

from crisp.arch import IDLE_CAUSES, Config
from crisp.golden.engine import run_layer
from crisp_hw.engine import LayerEngine
from crisp_sim.errors import SimulationError
from crisp_sim.harness import EngineSimulator
from crisp_sim.random_layers import random_layers

CONFIG = dataclasses.replace(Config.preset("tiny"), columns=3)

#: Module, what stands there, what stands there in the mutant.
MUTANTS = {
    "offset ignored": ("pe", "self.i_group[self.i_weight.offset]", "self.i_group[0]"),
    "sum not cleared": ("pe", "Mux(final, 0, accumulator) + product", "accumulator + product"),
    "bubble is not zero": ("weight_buffer", "with m.If(issued[arrived]):", "with m.If(1):"),
    "block index off by one": (
        "block_walker",
        "(entry.index << layer.block_groups_log2)",
        "((entry.index + 1) << layer.block_groups_log2)",
    ),
    "tail groups ignored": ("block_walker", "Mux(is_tail, layer.tail_groups, whole_groups)", "whole_groups"),
    "drain gap one short": ("step_issuer", "drain_timer.eq(self.bank_rows - 1)", "drain_timer.eq(self.bank_rows - 2)"),
    "window not waited for": ("step_issuer", "~self.i_arrived | (is_tile_end", "(is_tile_end"),
    "half rounded up": ("rounding_shift", "(half & (below_half | floor[0]))", "half"),
    "rows reversed": ("collector", "Cat(*rows)", "Cat(*reversed(rows))"),
}


def mutate(monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str) -> None:
    """Replace the classes of a hardware module, wherever they are used, by those of its changed source."""
    original = importlib.import_module(f"crisp_hw.{name}")
    source = inspect.getsource(original)
    assert source.count(old) == 1, f"crisp_hw/{name}.py must hold {old!r} once, for the mutant"
    mutant = ModuleType(original.__name__)
    mutant.__package__ = original.__package__
    exec(compile(source.replace(old, new), f"mutant of {name}.py", "exec"), mutant.__dict__)
    modules = [module for key, module in sys.modules.items() if key.startswith("crisp_hw.")]
    for attribute, whole in [(attribute, getattr(original, attribute)) for attribute in original.__all__]:
        for module in modules:
            if getattr(module, attribute, None) is whole:
                monkeypatch.setattr(module, attribute, getattr(mutant, attribute))


def passes(engine: LayerEngine | None) -> bool:
    """Tell whether an engine computes random layers to the bit, without a fault, with counters that add up."""
    for idle, stall in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5)):
        simulator = EngineSimulator(CONFIG, engine=engine, idle=idle, stall=stall, seed=3)
        for layer, x in random_layers(CONFIG, seed=3, number=84):
            try:
                run = simulator.run(layer, x)
            except SimulationError:
                return False
            counters = dataclasses.asdict(run.counters)
            if not np.array_equal(run.output, run_layer(layer, x)):
                return False
            if counters["total"] != counters["active"] + sum(counters[cause] for cause in IDLE_CAUSES):
                return False
    return True


def test_whole_engine_passes() -> None:
    assert passes(None)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_fails(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, *MUTANTS[mutant])
    assert not passes(LayerEngine(CONFIG)), f"no test notices: {mutant}"
