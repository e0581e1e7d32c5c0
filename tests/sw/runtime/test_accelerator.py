"""The driver's sequence, on a device made of the golden machine; and what it says when something is wrong."""

import dataclasses
import re

import numpy as np
import pytest
from tests.sw.arch.programs import PLANES, TABLE, TINY, copy, end, load, make_program, store
from tests.sw.runtime.golden_device import COMMAND_CYCLES, GoldenDevice

from crisp.arch import ErrorCode, LoadTarget, MemoryWindow, ProgramError
from crisp.runtime import Accelerator, AcceleratorError, DeviceError, Driver
from crisp.runtime.driver import place_windows

PROGRAM = make_program()
IMAGE = np.random.default_rng(2).integers(-128, 128, (1, 5, 7, 6), dtype=np.int8)
EXPECTED = TABLE[IMAGE.astype(int) + 128]


def raises(error: type[Exception], message: str):
    """Expect an error with exactly this message."""
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def test_golden_backend() -> None:
    calls: list[tuple[int, int]] = []
    result = Accelerator(TINY, backend="golden").run(PROGRAM, {"image": IMAGE}, progress=lambda *call: calls.append(call))
    assert (result.outputs["result"] == EXPECTED).all()
    assert (result.backend, result.cycles, result.counters) == ("golden", None, {})
    assert [(layer.name, layer.predicted_cycles) for layer in result.layers] == [("conv", 77), ("output", 0)]
    assert calls[-1] == (6, 6)


def test_device_gives_the_same_bits() -> None:
    device = GoldenDevice(TINY)
    accelerator = Accelerator(TINY, device=device)
    for image in (IMAGE, ~IMAGE):
        result = accelerator.run(PROGRAM, {"image": image})
        assert (result.outputs["result"] == TABLE[image.astype(int) + 128]).all()
        assert result.backend == "GoldenDevice"
        assert result.cycles == result.counters["cycles"] == 6 * COMMAND_CYCLES
    assert device.memory == {}
    assert list(device.permissions.values())[:3] == [(True, False), (True, True), (True, False)]


def test_cycles_go_to_layers() -> None:
    device = GoldenDevice(TINY)
    result = Accelerator(TINY, device=device).run(PROGRAM, {"image": IMAGE})
    conv, output = result.layers
    assert conv.executes == 1
    assert 4 * COMMAND_CYCLES <= conv.cycles < 5 * COMMAND_CYCLES
    assert conv.counters == {"active": 7, "blocks_walked": 3}
    assert (output.executes, output.cycles, output.counters) == (0, 0, {})


def test_progress_counts_commands() -> None:
    calls: list[tuple[int, int]] = []
    Accelerator(TINY, device=GoldenDevice(TINY)).run(PROGRAM, {"image": IMAGE}, progress=lambda *call: calls.append(call))
    assert calls == [(5, 5)]


def test_windows_stand_apart() -> None:
    """Between two windows lies a page that nobody has; none begins at a page; all addresses have both halves."""
    sizes = {MemoryWindow.PROGRAM: 64, MemoryWindow.SCRATCH: 0, MemoryWindow.INPUT: 4096, MemoryWindow.OUTPUT: 1 << 30}
    bases = place_windows(sizes)
    ends = [base + sizes[window] for window, base in bases.items()]
    assert all(base % 64 == 0 and base % 4096 and base >> 32 for base in bases.values())
    assert all(after - before >= 4096 for before, after in zip(ends, list(bases.values())[1:], strict=False))


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        (
            {("ID", "id"): 0},
            "register ID must read 0x50535243, not 0x00000000: this is no CRISP accelerator, or not its address",
        ),
        ({("VERSION", "major"): 9}, "the machine's major version must be 1, not 9: use the driver that came with it"),
        (
            {("CONFIG_DIGEST", "config_digest"): 5},
            f"the machine's configuration must have digest {TINY.digest:#010x}, not 0x00000005: name the configuration that it was "
            "built from",
        ),
    ],
)
def test_another_machine_is_refused(fixed: dict, message: str) -> None:
    with raises(DeviceError, message):
        Driver(GoldenDevice(TINY, fixed=fixed), TINY)


@pytest.mark.parametrize("code", [code for code in ErrorCode if code])
def test_errors_are_typed(code: ErrorCode) -> None:
    """Code, command, layer and address reach the user, and the machine runs the next program."""
    device = GoldenDevice(TINY, fail=code)
    accelerator = Accelerator(TINY, device=device)
    address = place_windows(PROGRAM.window_bytes)[MemoryWindow.PROGRAM] + 32
    with raises(
        AcceleratorError, f"small: {code.name} at command 1 of layer conv, address {address:#x}: {code.doc} {code.remedy}"
    ) as caught:
        accelerator.run(PROGRAM, {"image": IMAGE})
    assert (caught.value.code, caught.value.command, caught.value.layer, caught.value.address) == (code, 1, "conv", address)
    device.fail = ErrorCode.NONE
    assert (accelerator.run(PROGRAM, {"image": IMAGE}).outputs["result"] == EXPECTED).all()


@pytest.mark.parametrize("backend", ["golden", "device"])
def test_wrong_commands_are_the_same_error_everywhere(backend: str) -> None:
    wrong = make_program(load(target=LoadTarget.TABLE, offset=1 << 20, row_bytes=256) + end())
    device = GoldenDevice(TINY) if backend == "device" else None
    with pytest.raises(AcceleratorError) as caught:
        Accelerator(TINY, backend="golden", device=device).run(wrong, {"image": IMAGE})
    assert (caught.value.code, caught.value.command, caught.value.layer) == (ErrorCode.WINDOW_RANGE, 0, None)


def test_a_program_without_end_is_stopped() -> None:
    device = GoldenDevice(TINY, endless=True)
    with raises(
        DeviceError,
        "small: must end within 5000 cycles, but has completed only 0 commands: allow more, or see whether memory answers",
    ):
        Driver(device, TINY).run(PROGRAM, PROGRAM.input_window({"image": IMAGE}), timeout_cycles=5000)
    assert not device.values["STATUS", "busy"]
    assert device.memory == {}


def test_an_interrupted_run_leaves_the_machine_at_rest() -> None:
    """What a user stops by Ctrl-C does not go on behind their back."""
    device = GoldenDevice(TINY, endless=True)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    accelerator = Accelerator(TINY, device=device)
    with pytest.raises(KeyboardInterrupt):
        accelerator.run(PROGRAM, {"image": IMAGE}, progress=interrupt)
    assert not device.values["STATUS", "busy"]
    assert device.memory == {}


def test_a_machine_at_work_is_reset_first() -> None:
    device = GoldenDevice(TINY)
    accelerator = Accelerator(TINY, device=device)
    device.values["STATUS", "busy"] = 1
    assert (accelerator.run(PROGRAM, {"image": IMAGE}).outputs["result"] == EXPECTED).all()


def test_a_bus_that_owes_answers_is_told() -> None:
    fixed = {("STATUS", "busy"): 1, ("STATUS", "resetting"): 1, ("STATUS", "bus_stuck"): 1}
    with raises(DeviceError, "the machine must be reset in 100000 cycles, but is not, since memory owes answers: reset it with its bus"):
        Driver(GoldenDevice(TINY, fixed=fixed), TINY).reset()


def test_unknown_error_code() -> None:
    device = GoldenDevice(TINY, fail=ErrorCode.OPCODE, fixed={("ERROR_CODE", "code"): 255})
    with raises(DeviceError, "small: the machine's error code must be known, not 255: use the driver that came with it"):
        Accelerator(TINY, device=device).run(PROGRAM, {"image": IMAGE})


def test_wrong_use() -> None:
    other = dataclasses.replace(TINY, columns=8)
    with raises(
        DeviceError,
        f"small: must be compiled for this machine, whose configuration has digest {other.digest:#010x}, not {TINY.digest:#010x}: "
        "compile it with this configuration",
    ):
        Accelerator(other, backend="golden").run(PROGRAM, {"image": IMAGE})
    with raises(DeviceError, "backend must be one of golden, verilator, not 'gpu'"):
        Accelerator(TINY, backend="gpu")
    with raises(ProgramError, "image: must be int8 of shape (1, 5, 7, 6), not float64 of shape (1, 5, 7, 6)"):
        Accelerator(TINY, backend="golden").run(PROGRAM, {"image": IMAGE.astype(float)})


def test_several_executes_of_a_layer_add_up() -> None:
    commands = b"".join((
        load(window=MemoryWindow.PROGRAM, target=LoadTarget.TABLE, offset=448, row_bytes=256),
        load(window=MemoryWindow.PROGRAM, target=LoadTarget.RUNS, offset=704, row_bytes=8),
        load(window=MemoryWindow.INPUT, target=LoadTarget.ACTIVATIONS, destination_stride=40, **PLANES),
        copy(wait_load=3),
        copy(wait_execute=1, input_base=100, output_base=200),
        store(wait_execute=2, source=200, source_stride=40, **PLANES),
        end(wait_store=1),
    ))  # fmt: skip
    program = make_program(commands, command_layers=(0, 0, 0, 0, 0, 1, 1))
    assert program.constants_offset == 448
    result = Accelerator(TINY, device=GoldenDevice(TINY)).run(program, {"image": IMAGE})
    assert (result.outputs["result"] == TABLE[EXPECTED.astype(int) + 128]).all()
    assert (result.layers[0].executes, result.layers[0].counters) == (2, {"active": 14, "blocks_walked": 7})
