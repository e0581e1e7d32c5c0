"""Execute unit, in the machine: commands one behind the other, of every kind, with nothing between them to wait for."""

import dataclasses
import random
from typing import Any

import numpy as np
import pytest
from tests.hw.accelerator_host import Host, check_records, run_as_golden
from tests.hw.test_accelerator import MEMORIES, TINY, programs

from crisp.arch import STORE, ExecuteKind, Layout, MemoryWindow, Opcode, Program, Sharing, TensorDescriptor
from crisp.arch.command_rules import COMMAND_WORDS
from crisp_sim.machine import MachineSimulator

#: Where the results of the commands lie, and how far they are apart.
FIRST, SPAN = 4000, 160

Commands = list[tuple[Opcode, dict[str, Any]]]


@pytest.fixture(scope="module")
def simulator() -> MachineSimulator:
    return MachineSimulator(TINY)


def result_fields(number: int, **more: int) -> dict[str, int]:
    """Return where the results of a command lie: planes of as many words as there are pixels."""
    place = {"output_base": FIRST + number * SPAN, "output_ring": 13, "output_pitch": 13, "output_tile_stride": 13 * TINY.tile_words}
    return {**place, "output_q": 0, "output_tile_dq": TINY.columns, "output_wrap_dq": 0, "output_word_dq": 0, **more}


def residual_fields(rng: random.Random, number: int) -> dict[str, int]:
    """Return the fields by which a command adds the results of one before, with scales of its own."""
    place = {name.replace("output", "residual"): value for name, value in result_fields(number).items()}
    kept = {name: place[name] for name in ("residual_base", "residual_ring", "residual_pitch", "residual_tile_stride", "residual_q")}
    scales = {"result_multiplier": rng.randint(1, 9), "residual_multiplier": rng.randint(1, 9), "sum_shift": rng.randint(1, 4)}
    return {"residual": 1, **kept, **scales, "sum_clamp_min": -128, "sum_clamp_max": rng.randint(50, 127)}


def random_program(seed: int, number: int) -> tuple[Program, np.ndarray, Commands]:
    """Return a program of ``number`` EXECUTEs without waits among them: products, maxima, and sums that go on in the next one."""
    rng = random.Random(seed)
    program, image = programs()["product"]
    commands = [(command.opcode, command.unpack()) for command in program.decode()]
    loads = [(opcode, fields) for opcode, fields in commands if opcode is Opcode.LOAD]
    (product,) = [fields for opcode, fields in commands if opcode is Opcode.EXECUTE]
    waits = {"wait_load": len(loads), "wait_execute": 0, "wait_store": 0}
    chosen: Commands = []
    wholes: list[int] = []
    while len(chosen) < number:
        place = result_fields(len(chosen))
        kind = rng.choice(("whole", "part", "max", "open"))
        if kind == "whole":
            adds = residual_fields(rng, rng.choice(wholes)) if wholes and rng.random() < 0.7 else {}
            wholes.append(len(chosen))
            chosen.append((Opcode.EXECUTE, {**product, **waits, **place, **adds, "zero_point": rng.randint(-9, 9)}))
        elif kind == "part":
            part = {"row_tiles": rng.randint(1, product["row_tiles"]), "pixels": rng.randint(1, product["pixels"])}
            limit = rng.randint(1, part["row_tiles"] * TINY.tile_words)
            chosen.append((Opcode.EXECUTE, {**product, **waits, **place, **part, "output_words": limit}))
        elif kind == "max":
            what = {"kind": ExecuteKind.MAX, "sharing": Sharing.SHARED, "row_tiles": 1, "output_words": 1}
            chosen.append((Opcode.EXECUTE, {**product, **waits, **place, **what}))
        else:
            # One tile, whose sum several commands add to.
            part = {"row_tiles": 1, "pixels": rng.randint(1, TINY.columns), "output_words": TINY.tile_words}
            for is_open in [1] * rng.randint(1, 3) + [0]:
                chosen.append((Opcode.EXECUTE, {**product, **waits, **place, **part, "open": is_open}))
    row_bytes = TINY.group_size * SPAN * len(chosen)
    store = {field.name: 0 for field in STORE.fields} | {"opcode": Opcode.STORE, "wait_execute": len(chosen)}
    store |= {"window": MemoryWindow.OUTPUT, "rows": 1, "row_bytes": row_bytes, "source": FIRST}
    end = {"opcode": Opcode.END, "wait_load": 0, "wait_execute": 0, "wait_store": 1}
    result = [*loads, *chosen, (Opcode.STORE, store), (Opcode.END, end)]

    # Constants stand behind the commands, which are more now.
    size = sum(COMMAND_WORDS[opcode].num_bytes for opcode, _ in result)
    for _, fields in loads:
        if fields["window"] == MemoryWindow.PROGRAM:
            fields["offset"] += -(-size // 64) * 64 - program.constants_offset
    words = [COMMAND_WORDS[opcode].pack(**fields).to_bytes(COMMAND_WORDS[opcode].num_bytes, "little") for opcode, fields in result]
    output = TensorDescriptor(
        name="words",
        shape=(1, 1, SPAN * len(chosen), TINY.group_size),
        scale=1.0,
        zero_point=0,
        layout=Layout.PLANES,
        group_size=TINY.group_size,
        stride=row_bytes,
    )
    return dataclasses.replace(program, commands=b"".join(words), outputs=(output,), command_layers=()), image, result


@pytest.mark.parametrize("memory", ["quick", "pauses"])
@pytest.mark.parametrize("seed", range(6))
def test_commands_follow_each_other(simulator: MachineSimulator, seed: int, memory: str) -> None:
    simulator.set_memory(MEMORIES[memory])
    program, image, commands = random_program(seed, 16)
    simulator.take_trace()
    with Host(simulator, program, image) as host:
        counters = run_as_golden(host, commands)
    records = simulator.take_trace()
    check_records(records, commands, counters)
    for record in records:
        is_product = commands[record["command"]][1]["kind"] == ExecuteKind.PRODUCT
        assert (record["active"] > 0) == is_product
