"""Schedule and compilation: networks at the edges of what is laid out, and what a program says of itself."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.sw.compile.integer_networks import Builder, check_program, random_network

from crisp.arch import Config, LoadTarget, MemoryWindow, Opcode
from crisp.compile import CompileError, compile_network
from crisp.compile.compile import Compilation, schedule_network
from crisp.compile.places import Constants

TINY = Config.preset("tiny")
SAME = {"kernel": (3, 3), "padding": (1, 1)}
CONFIGS = {
    "tiny": TINY,
    "little memory": dataclasses.replace(TINY, activation_buffer_depth=96),
    "wide bus": dataclasses.replace(TINY, axi_data_width=512),
    "wide bus, little memory": dataclasses.replace(TINY, axi_data_width=256, activation_buffer_depth=112),
    "16 rows, 7 columns": Config(rows=16, columns=7),
    "groups of 2": Config(group_size=2, rows=8, columns=8, drain_rows=2),
}


def odd_rows(net: Builder) -> None:
    net.depthwise(net.conv("input", 8, **SAME), kernel=(3, 3), stride=(2, 2))


def split_columns(net: Builder) -> None:
    net.maximum(net.conv(net.depthwise(net.conv("input", 8), stride=(2, 2), **SAME), 12), kernel=(2, 2), stride=(2, 2))


def split_from_split(net: Builder) -> None:
    net.maximum(net.depthwise(net.conv("input", 8), stride=(2, 2), **SAME), stride=(2, 2), **SAME)


def one_pixel(net: Builder) -> None:
    net.conv(net.conv(net.global_average(net.conv("input", 9)), 21), 5)


def whole_image(net: Builder) -> None:
    net.conv(net.conv("input", 20, kernel=(11, 12)), 6)


def narrow(net: Builder) -> None:
    net.conv(net.maximum(net.conv("input", 8, kernel=(3, 11)), kernel=(2, 1), stride=(2, 1)), 8, kernel=(3, 1), padding=(1, 0))


def all_in_memory(net: Builder) -> None:
    first = net.conv("input", 12, **SAME)
    second = net.conv(first, 12, **SAME)
    net.add(net.conv(net.add(net.conv(second, 12, **SAME), first), 12), second)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("build", [odd_rows, split_columns, split_from_split, one_pixel, whole_image, narrow, all_in_memory])
def test_shapes(build, config: str) -> None:
    net = Builder(CONFIGS[config], (11, 12, 4))
    build(net)
    check_program(net, net.config)


@pytest.mark.parametrize("seed", range(12))
def test_random_networks(seed: int) -> None:
    config = list(CONFIGS.values())[seed % len(CONFIGS)]
    check_program(random_network(config, seed + 20, length=8), config)


def schedule(net: Builder) -> Compilation:
    return schedule_network(net.network(), net.config, net.image)


def test_a_sum_that_a_product_gathers_is_right_in_several_chunks() -> None:
    """The second chunk reads what the first one would have overwritten."""
    net = Builder(dataclasses.replace(TINY, weight_buffer_depth=256), (8, 8, 4))
    first = net.conv("input", 16)
    net.add(net.conv(first, 16, **SAME), first)
    compilation = check_program(net, net.config)
    assert len(compilation.plan.chunks["add2"]) > 1


def test_weights_are_loaded_once_where_they_stay() -> None:
    """Over stripes, and for equal operators."""
    net = Builder(dataclasses.replace(TINY, activation_buffer_depth=96), (12, 12, 4))
    net.conv(net.conv("input", 8, **SAME), 8, **SAME)
    compilation = check_program(net, net.config)
    assert max(segment.plan.stripes for segment in compilation.scheduler.segments) > 1
    loads = [command.fields for command in compilation.scheduler.stream.commands if command.opcode is Opcode.LOAD]
    offsets = [load["offset"] for load in loads if load["target"] in (LoadTarget.STEPS, LoadTarget.DENSE_STEPS)]
    assert len(offsets) == len(set(offsets)) >= 2


def test_k_in_parts_on_the_machine() -> None:
    config = dataclasses.replace(TINY, weight_buffer_depth=300, column_buffer_depth=80)
    net = Builder(config, (2, 2, 288))
    net.conv("input", 8)
    commands = check_program(net, config).scheduler.stream.commands
    opened = [command.fields["open"] for command in commands if command.opcode is Opcode.EXECUTE]
    assert len(opened) > 2
    assert opened[-1] == 0
    assert sum(opened) == len(opened) - 2


def test_constants_are_kept_once() -> None:
    constants = Constants()
    assert [constants.add(data) for data in (b"one", b"two" * 30, b"one", b"three")] == [0, 64, 0, 192]
    assert len(constants.data) == 256
    assert constants.data[64:154] == b"two" * 30


def test_a_program_knows_its_layers() -> None:
    net = Builder(TINY, (8, 8, 4))
    first = net.conv("input", 8, **SAME)
    net.global_average(net.add(net.conv(first, 8), first))
    compilation = schedule(net)
    program = compilation.program
    assert [(layer.name, layer.operation, layer.macs) for layer in program.layers] == [
        ("conv0", "product 3x3", 64 * 8 * 36),
        ("add2", "product 1x1 + add", 64 * 8 * 8),
        ("mean3", "planes 8x8", 0),
    ]
    assert len(program.command_layers) == len(compilation.scheduler.stream.commands) == len(program.decode())
    for command, layer in zip(compilation.scheduler.stream.commands, program.command_layers, strict=True):
        if command.opcode is Opcode.EXECUTE:
            assert program.layers[layer].name == command.label
    assert program.command_layers[0] == 0
    assert program.command_layers[-1] == 2
    predicted = [layer.predicted_cycles for layer in program.layers]
    assert min(predicted) > 0
    assert sum(predicted) <= program.info["predicted_cycles"]


def test_equal_networks_are_equal_bytes() -> None:
    programs = [compile_network(random_network(TINY, 3).network(), TINY, random_network(TINY, 3).image) for _ in range(2)]
    assert programs[0].to_bytes() == programs[1].to_bytes()
    info = compile_network(random_network(TINY, 3).network(), TINY, random_network(TINY, 3).image, info={"seed": 3})
    assert info.info == {**programs[0].info, "seed": 3}


#: Prints a digest of programs; where a set of names has any say in them, it differs from process to process.
DIGEST = """
import hashlib
from tests.sw.compile.test_schedule import CONFIGS, random_network, schedule
nets = [random_network(CONFIGS["little memory"], seed, length=8) for seed in range(6)]
print(hashlib.sha256(b"".join(schedule(net).program.to_bytes() for net in nets)).hexdigest())
"""


def test_the_order_of_sets_has_no_say() -> None:
    root = Path(__file__).parents[3]
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(4)
    }
    assert len(digests) == 1


def test_scratch_memory_is_only_for_what_does_not_fit() -> None:
    def build(config: Config) -> Compilation:
        net = Builder(config, (12, 12, 4))
        all_in_memory(net)
        return schedule(net)

    roomy, tight = build(TINY), build(dataclasses.replace(TINY, activation_buffer_depth=96))
    assert roomy.program.scratch_bytes == 0 < tight.program.scratch_bytes
    windows = {command.fields["window"] for command in tight.scheduler.stream.commands if command.opcode is Opcode.STORE}
    assert windows == {MemoryWindow.SCRATCH, MemoryWindow.OUTPUT}


def test_nothing_stays_behind() -> None:
    net = random_network(TINY, 5, length=8)
    scheduler = schedule(net).scheduler
    assert not scheduler.free.used
    assert not scheduler.homes


def test_what_does_not_fit_is_named() -> None:
    config = dataclasses.replace(TINY, activation_buffer_depth=8)
    net = Builder(config, (12, 12, 16))
    net.conv("input", 16, **SAME)
    message = "conv0: does not fit the activation buffer of 32 words in any way; choose a larger configuration or a smaller image"
    with pytest.raises(CompileError, match=f"^{re.escape(message)}$"):
        compile_network(net.network(), config, net.image)


def test_numbers_in_fields_are_integers() -> None:
    """Whatever computes them: a field holds no NumPy integer that could overflow."""
    for command in schedule(random_network(TINY, 4)).scheduler.stream.commands:
        assert not [name for name, value in command.fields.items() if isinstance(value, np.integer) and value.dtype.itemsize < 8]
