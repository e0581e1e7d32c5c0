"""The engine's tests bite: hardware with one small fault each does not pass what whole hardware passes."""

import dataclasses
import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

from crisp.arch import Config
from crisp_hw.engine import LayerEngine
from crisp_sim.cocotb_runner import simulate
from crisp_sim.errors import CocotbFailure
from crisp_sim.streams import MODES

#: Two banks of one word each, a number of columns that is no power of two, a ring that wraps often.
CONFIG = dataclasses.replace(Config.preset("tiny"), rows=8, columns=3, drain_rows=2, column_buffer_depth=60)

#: Module, what stands there, what stands there in the mutant.
MUTANTS = {
    "offset ignored": ("pe", "self.i_group[self.i_weight.offset]", "self.i_group[0]"),
    "sum not cleared": ("pe", "Mux(final, 0, accumulator) + product", "accumulator + product"),
    "bubble is not zero": ("weight_buffer", "with m.If(issued[arrived]):", "with m.If(1):"),
    "base of steps ignored": ("weight_buffer", "place = self.i_base + self.i_step", "place = self.i_step + 0"),
    "block index off by one": ("block_walker", "block.address.eq(entry.index <<", "block.address.eq((entry.index + 1) <<"),
    "tail groups ignored": ("block_walker", "Mux(is_tail, tail_groups, whole_groups)", "whole_groups"),
    "row tiles do not share entries": ("block_walker", "entry_address.eq(row_address)", "entry_address.eq(entry_address + 1)"),
    "sums of parts apart": ("block_walker", "(command.sharing != Sharing.SPLIT)", "1"),
    "open sums closed": ("block_walker", "& ~command.open", ""),
    "window of a part kept": ("block_walker", "(command.sharing != Sharing.SHARED)", "0"),
    "drain gap one short": ("step_issuer", "drain_timer.eq(self.bank_rows - 1)", "drain_timer.eq(self.bank_rows - 2)"),
    "window not waited for": ("step_issuer", "~self.i_arrived | (is_block_end", "(is_block_end"),
    "room not waited for": ("step_issuer", "is_tile_end & ~self.i_room", "0"),
    "ring does not wrap": ("column_buffer", "total - self.depth, total)", "total, total)"),
    "window released too early": ("column_buffer", "for _ in range(self.columns):", "for _ in range(0):"),
    "half rounded up": ("rounding_shift", "(half & (below_half | floor[0]))", "half"),
    "channels of a command not its own": ("engine", "command.channel_base // config.drain_rows + place", "place + 0"),
    "clamps of another command": ("engine", "output.eq(arriving.output)", "output.eq(tile.output)"),
    "clamps a row early": ("engine", "Requantize.LATENCY - 2):", "Requantize.LATENCY - 3):"),
    "rows reversed": ("collector", "Cat(*rows)", "Cat(*reversed(rows))"),
    "banks out of order": ("collector", "with m.If(bank == number):", "with m.If(bank != number):"),
    "tail counted twice": ("performance", "self.i_command | (is_tail & ~is_over)", "self.i_command | is_tail"),
}


def mutate(monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str) -> None:
    """Replace the classes of a hardware module, wherever they are used, by those of its changed source."""
    original = importlib.import_module(f"crisp_hw.{name}")
    source = inspect.getsource(original)
    assert source.count(old) == 1, f"crisp_hw/{name}.py must hold {old!r} once, for the mutant"
    mutant = ModuleType(original.__name__)
    mutant.__package__ = original.__package__
    exec(compile(source.replace(old, new), f"mutant of {name}.py", "exec"), mutant.__dict__)
    modules = [*(module for key, module in sys.modules.items() if key.startswith("crisp_hw.")), sys.modules[__name__]]
    for attribute, whole in [(attribute, getattr(original, attribute)) for attribute in original.__all__]:
        for module in modules:
            if getattr(module, attribute, None) is whole:
                monkeypatch.setattr(module, attribute, getattr(mutant, attribute))


def run() -> None:
    """Run jobs on the engine as it is now.

    Raises
    ------
    CocotbFailure
        When one of them does not come out as it must.
    """
    for mode in MODES:
        table = {"config": dataclasses.asdict(CONFIG), "mode": mode, "number": 60}
        simulate(LayerEngine(CONFIG), Path(__file__).with_name("test_engine.py"), name="engine", parameters=table, testcase="computes_jobs")


def test_whole_engine_passes() -> None:
    run()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_fails(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, *MUTANTS[mutant])
    with pytest.raises(CocotbFailure):
        run()
