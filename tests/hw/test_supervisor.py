"""Supervisor: against a model of its rules in every cycle, whatever happens at the same time; and each rule by itself."""
# amaranth: UnusedElaboratable=no

import dataclasses
import random
from typing import Any

import cocotb
from tests.hw.bench import Process

from crisp.arch import UNIT_BYTES, ErrorCode
from crisp_hw.command_layouts import fault_layout, tag_layout
from crisp_hw.supervisor import Supervisor, status_layout
from crisp_sim.cocotb_runner import simulate
from crisp_sim.streams import Bench, layout_codec

SOURCES = 3
FIRST_ADDRESS = 0x12_3456_7800
NO_FAULT = {"valid": 0, "code": 0, "tag": {"index": 0, "unit": 0}, "on_bus": 0, "address": 0}


@dataclasses.dataclass
class State:
    """What the supervisor remembers."""

    phase: str = "idle"
    done: int = 0
    error: int = 0
    resetting: int = 0
    stuck: int = 0
    code: int = 0
    command: int = 0
    address: int = 0
    quiet: int = 0
    fault: dict | None = None  # told in the cycle before


class Model(Process):
    """Drives inputs from a plan of what happens in a cycle, and compares outputs."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.state = State()
        self.inputs: dict[str, Any] = {}
        self.plan: Any = dict
        self.events = {"done": 0, "error": 0}
        self.visited: set[tuple[str, ...]] = set()
        self.encode_fault, _ = layout_codec(fault_layout())
        self.encode_tag, _ = layout_codec(tag_layout())
        _, self.decode_status = layout_codec(status_layout())

    def forget(self) -> None:
        self.state = State()

    def step(self) -> None:
        if self.inputs:
            self.compare()
        self.inputs = {
            "start": 0,
            "soft_reset": 0,
            "finished": 0,
            "progress": 1,
            "bus_idle": 1,
            "watchdog": 0,
            "faults": [NO_FAULT] * SOURCES,
            "oldest": {"index": 0, "unit": 0},
            **self.plan(),
        }
        dut = self.dut
        for name in ("start", "soft_reset", "finished", "progress", "bus_idle", "watchdog"):
            getattr(dut, f"i_{name}").value = self.inputs[name]
        for source, fault in enumerate(self.inputs["faults"]):
            getattr(dut, f"i_faults__{source}").value = self.encode_fault(fault)
        dut.i_oldest.value = self.encode_tag(self.inputs["oldest"])
        dut.i_first_address.value = FIRST_ADDRESS

    def compare(self) -> None:
        """Look at the cycle that ends, and go on to the next."""
        dut, before, given = self.dut, self.state, self.inputs
        expected = dataclasses.replace(before)
        done_event = error_event = begins = 0
        still = bool(given["watchdog"]) and before.quiet >= given["watchdog"]
        expected.quiet = 0 if given["progress"] or before.phase == "idle" or still else before.quiet + 1

        # A fault stops the machine in the next cycle.
        expected.fault = None
        if before.phase == "run":
            if still:
                expected.fault = {**NO_FAULT, "code": ErrorCode.WATCHDOG, "tag": given["oldest"]}
            for fault in reversed(given["faults"]):
                if fault["valid"]:
                    expected.fault = fault

        ends_well = before.phase == "drain" and not before.error and not before.resetting
        fails = before.fault is not None and (before.phase == "run" or ends_well)
        if fails:
            error_event, expected.error = 1, 1
            expected.code, expected.command = before.fault["code"], before.fault["tag"]["index"]
            place = FIRST_ADDRESS + UNIT_BYTES * before.fault["tag"]["unit"]
            expected.address = before.fault["address"] if before.fault["on_bus"] else place % (1 << 40)
        if before.phase == "idle":
            if given["start"] and not before.error and not given["soft_reset"]:
                begins, expected.phase, expected.done = 1, "run", 0
        elif before.phase == "run":
            if fails or given["finished"]:
                expected.phase = "drain"
        elif given["bus_idle"]:
            expected.phase, expected.resetting, expected.stuck = "idle", 0, 0
            if ends_well and not fails and not given["soft_reset"]:
                done_event, expected.done = 1, 1
        elif still and not before.stuck:
            error_event, expected.stuck = 1, 1
        if given["soft_reset"]:
            expected.done = expected.error = expected.code = expected.command = expected.address = 0
            if before.phase != "idle":
                expected.phase, expected.resetting = "drain", 1

        status = {
            "busy": int(before.phase != "idle"),
            "done": before.done,
            "error": before.error,
            "resetting": before.resetting,
            "bus_stuck": before.stuck,
        }
        assert self.decode_status(int(dut.o_status.value)) == status, f"cycle {self.bench.cycle}: {before}, {given}"
        outputs = {
            "begin": begins,
            "run": int(before.phase == "run"),
            "reset": int(before.phase != "run"),
            "reset_bus": int(before.phase == "idle"),
            "stop": int(before.phase != "run"),
            "forget": given["soft_reset"],
            "error_code": before.code,
            "error_command": before.command,
            "error_address": before.address,
            "done_event": done_event,
            "error_event": error_event,
        }
        assert {name: int(getattr(dut, f"o_{name}").value) for name in outputs} == outputs, f"cycle {self.bench.cycle}: {before}, {given}"
        self.events["done"] += done_event
        self.events["error"] += error_event
        happens = [name for name in ("start", "soft_reset", "finished", "bus_idle") if given[name]]
        self.visited.add((before.phase, *happens, *(["fault"] if before.fault else []), *(["still"] if still else [])))
        self.state = expected


def random_fault(rng: random.Random) -> dict[str, Any]:
    """Return a fault, mostly none."""
    return {
        "valid": int(rng.random() < 0.03),
        "code": rng.choice([code for code in ErrorCode if code]),
        "tag": {"index": rng.getrandbits(27), "unit": rng.getrandbits(27)},
        "on_bus": rng.getrandbits(1),
        "address": rng.getrandbits(40),
    }


@cocotb.test()
async def same_as_its_model(dut):
    bench = await Bench.start(dut)
    rng = random.Random(bench.seed)
    model = Model(bench)
    chances = {"start": 0.3, "soft_reset": 0.02, "finished": 0.05, "progress": 0.7, "bus_idle": 0.2}
    limits = {"watchdog": 4}

    def plan() -> dict[str, Any]:
        if rng.random() < 0.01:
            limits["watchdog"] = rng.choice((0, 1, 3, 6))
            chances["progress"] = rng.choice((0.1, 0.7, 1))
        return {
            **{name: int(rng.random() < chance) for name, chance in chances.items()},
            **limits,
            "faults": [random_fault(rng) for _ in range(SOURCES)],
            "oldest": {"index": rng.getrandbits(27), "unit": rng.getrandbits(27)},
        }

    model.plan = plan
    await bench.wait(25_000)
    assert min(model.events.values()) > 100
    assert {
        ("run", "soft_reset", "fault"),
        ("run", "finished", "fault"),
        ("drain", "fault"),
        ("drain", "bus_idle", "fault"),
        ("drain", "still"),
        ("drain", "soft_reset", "bus_idle"),
    } <= model.visited


@cocotb.test()
async def the_first_source_counts(dut):
    bench = await Bench.start(dut)
    model = Model(bench)
    model.plan = lambda: {"start": 1}
    await bench.wait(3)
    faults = [
        NO_FAULT,
        {"valid": 1, "code": ErrorCode.READ_RESPONSE, "tag": {"index": 7, "unit": 9}, "on_bus": 1, "address": 0xFF_0000_0040},
        {"valid": 1, "code": ErrorCode.WALK, "tag": {"index": 5, "unit": 6}, "on_bus": 0, "address": 0},
    ]
    model.plan = lambda: {"faults": faults}
    await bench.wait(5)
    assert int(dut.o_error_code.value) == ErrorCode.READ_RESPONSE
    assert (int(dut.o_error_command.value), int(dut.o_error_address.value)) == (7, 0xFF_0000_0040)


def test_supervisor():
    simulate(Supervisor(sources=SOURCES), __file__, name="supervisor")
