"""The tests of what leads the machine bite: blocks with one small fault each do not pass them."""
# amaranth: UnusedElaboratable=no

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.hw.test_mutants import mutate

from crisp.arch import STORE, Config
from crisp_sim.cocotb_runner import simulate
from crisp_sim.errors import CocotbFailure

TINY = Config.preset("tiny")


def made(module: str, name: str, **arguments: Any) -> Callable[[], Any]:
    """Return what makes a component of the class that the module has at that time."""
    return lambda: getattr(importlib.import_module(f"crisp_hw.{module}"), name)(**arguments)


#: Block: what makes it, its tests, their parameters.
BLOCKS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "supervisor": (made("supervisor", "Supervisor", sources=3), {}),
    "scoreboard": (made("scoreboard", "Scoreboard", waiting=4), {}),
    "csr": (made("csr", "RegisterFile", digest=0x89ABCDEF), {"pauses": True}),
    "command_fetch": (
        made("command_fetch", "CommandFetch", config=TINY, bytes_width=9),
        {"mode": "idle", "config": {"preset": "tiny"}, "place": "empty"},
    ),
    "command_check": (made("command_check", "CommandCheck", config=TINY), {"config": "tiny", "mode": "backpressure", "commands": 600}),
    "command_queue": (made("command_queue", "CommandQueue", word=STORE, depth=4, under_way=3), {"mode": "backpressure", "depth": 4}),
    "activity_counters": (made("activity_counters", "ActivityCounters", beat_bytes=8), {}),
}

#: Block, what stands there, what stands there in the mutant.
MUTANTS = {
    "a fault in a reset's cycle wins": ("supervisor", "with m.If(self.i_soft_reset):", "with m.If(self.i_soft_reset & ~fails):"),
    "a start after an error": ("supervisor", "self.i_start & ~status.error &", "self.i_start &"),
    "reset without draining": ("supervisor", "self.o_reset_bus.eq(phase == Phase.IDLE)", "self.o_reset_bus.eq(phase != Phase.RUN)"),
    "the last source counts": ("supervisor", "in reversed(self.i_faults)", "in self.i_faults"),
    "watchdog a cycle late": ("supervisor", "(quiet_cycles >= self.i_watchdog)", "(quiet_cycles > self.i_watchdog)"),
    "an end while resetting is done": ("supervisor", "& ~status.error & ~status.resetting)", "& ~status.error)"),
    "an error in the last cycle is lost": (
        "supervisor",
        "((phase == Phase.RUN) | ends_well) & fault.valid",
        "(phase == Phase.RUN) & fault.valid",
    ),
    "counts wrap to waiting": ("scoreboard", "ahead[-1]", "(counts[queue] < self.i_waits[asks][f'wait_{opcode.name.lower()}'])"),
    "one queue is not waited for": ("scoreboard", "~late.any()", "~late[1:].any()"),
    "strobes ignored": ("csr", "(word[bits] & mask[bits]))", "word[bits])"),
    "windows move under commands": ("csr", "if field.access is Access.LOCKED else is_locked", "if False else is_locked"),
    "the high half is not kept": ("csr", "word.append(kept)", "word.append(self.i_machine[key][32:])"),
    "an event is lost to its clearing": (
        "csr",
        "& ~cleared.as_value()) | self.i_events.as_value())",
        "| self.i_events.as_value()) & ~cleared.as_value())",
    ),
    "the list's end is not looked at": ("command_fetch", "fits.eq(units <= units_left)", "fits.eq(1)"),
    "transfers overlap": ("command_fetch", "address + chunk_units * UNIT_BYTES", "address + (chunk_units - 1) * UNIT_BYTES"),
    "reserved bits pass": ("command_check", "f.reserved != 0", "f.reserved == -1"),
    "the last rule counts": ("command_check", "in reversed(list(enumerate(rules)))", "in list(enumerate(rules))"),
    "products are not waited for": ("command_check", "with m.If(done):", "with m.If(1):"),
    "a refused command goes on": (
        "command_check",
        "with m.Else():\n                    m.d.comb += taken.eq(1)",
        "m.d.comb += taken.eq(1)",
    ),
    "nobody waits": ("command_queue", "head.o_data.valid & (self.i_ready | is_ready) & ~begins", "head.o_data.valid & ~begins"),
    "the one before was ready": ("command_queue", "head.o_data.valid & (self.i_ready | is_ready) & ~begins", "self.i_ready | is_ready"),
    "too many under way": ("command_queue", "may_begin = is_ready & tags.w_rdy", "may_begin = is_ready & 1"),
    "pooling hides the engine": ("activity_counters", "~self.i_computing & self.i_executing,", "self.i_executing,"),
}


def run(block: str) -> None:
    """Run a block's tests on it as it is now.

    Raises
    ------
    CocotbFailure
        When one fails.
    """
    make, table = BLOCKS[block]
    simulate(make(), Path(__file__).with_name(f"test_{block}.py"), name=f"mutant_{block}", parameters=table)


@pytest.mark.parametrize("block", BLOCKS)
def test_whole_block_passes(block: str) -> None:
    run(block)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_fails(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    block, old, new = MUTANTS[mutant]
    mutate(monkeypatch, block, old, new)
    with pytest.raises(CocotbFailure):
        run(block)
