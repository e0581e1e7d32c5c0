"""Batches: several images in one program are what each of them is alone; what is late computes them side by side."""

import dataclasses
import itertools
import re

import numpy as np
import pytest
from tests.sw.compile.integer_networks import Builder, check_program, random_network, select
from tests.sw.compile.interleaving import run_interleaved
from tests.sw.compile.test_stream import at_random, priorities

from crisp.arch import Config, Layout, LoadTarget, Opcode
from crisp.compile import CompileError
from crisp.compile.batch import MAX_BATCH
from crisp.compile.compile import Compilation, compile_network
from crisp.compile.images import is_joinable, join, joinable_from
from crisp.compile.operator import Kind

TINY = Config.preset("tiny")
LITTLE = dataclasses.replace(TINY, activation_buffer_depth=80, weight_buffer_depth=512)
MACHINES = {
    "tiny": TINY,
    "little memory": LITTLE,
    "groups of 2, 7 columns": Config(group_size=2, rows=8, columns=7, drain_rows=2),
    "groups of 8": Config(group_size=8, columns=8, axi_data_width=64),
}


def loads(compilation: Compilation, *targets: LoadTarget) -> int:
    """Return how many LOADs of some kinds a program has."""
    commands = [command.unpack() for command in compilation.program.decode() if command.opcode is Opcode.LOAD]
    return sum(command["target"] in targets for command in commands)


def joined(compilation: Compilation) -> list[str]:
    """Return the operators that compute several images side by side."""
    return [op.report_name for op in compilation.plan.operators if op.output.images > 1 and op.image is None]


def linear(image: tuple[int, int, int] = (1, 1, 32), config: Config = TINY) -> Builder:
    """Return linear layers, with a table and a sum."""
    net = Builder(config, image, seed=4)
    first = net.conv("input", 48, kernel=image[:2])
    second = net.table(net.conv(first, 48, density=0.5))
    net.conv(net.add(net.conv(second, 48), first), 10)
    return net


def residual(size: int = 10, config: Config = TINY) -> Builder:
    """Return blocks with shortcuts, the second of which halves the image, and a global average."""
    net = Builder(config, (size, size, 3), seed=1)
    first = net.conv("input", 16, kernel=(3, 3), padding=(1, 1))
    second = net.add(net.conv(net.conv(first, 16, kernel=(3, 3), padding=(1, 1)), 16, kernel=(3, 3), padding=(1, 1)), first)
    half = net.conv(second, 32, kernel=(3, 3), stride=(2, 2), padding=(1, 1))
    third = net.add(net.conv(half, 32, kernel=(3, 3), padding=(1, 1)), net.conv(second, 32, stride=(2, 2)))
    fourth = net.add(net.conv(net.conv(third, 32, kernel=(3, 3), padding=(1, 1)), 32, kernel=(3, 3), padding=(1, 1)), third)
    net.conv(net.global_average(fourth), 10)
    return net


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("seed", range(12))
def test_random_networks(seed: int, machine: str) -> None:
    check_program(random_network(MACHINES[machine], seed, length=3 + seed % 5), MACHINES[machine], 2 + seed % 4)


@pytest.mark.parametrize("batch", range(2, 6))
def test_a_linear_network_loads_its_weights_once(batch: int) -> None:
    """All its images are pixels of one map, from the host's to the logits."""
    net = linear(config=dataclasses.replace(TINY, columns=5))
    one, many = (check_program(net, net.config, number) for number in (1, batch))
    assert [operator.output.images for operator in many.plan.operators] == [batch] * 4
    weights = (LoadTarget.STEPS, LoadTarget.DENSE_STEPS, LoadTarget.CHANNELS)
    assert loads(many, *weights) == loads(one, *weights)
    assert len(many.program.constants) == len(one.program.constants)
    for descriptor in (*many.program.inputs, *many.program.outputs):
        assert (descriptor.shape[0], descriptor.interleave, descriptor.layout) == (batch, batch, Layout.PLANES)


def test_weights_that_stay_are_loaded_once() -> None:
    """The next image's stripes find them where they are, and what is joined does not overwrite them."""
    config = dataclasses.replace(TINY, weight_buffer_depth=16384, channel_buffer_depth=512, run_buffer_depth=2048)
    net = residual(16, config)
    one, many = (check_program(net, config, batch) for batch in (1, 4))
    assert any(segment.plan.stripes > 1 for segment in many.scheduler.segments)
    weights = (LoadTarget.STEPS, LoadTarget.DENSE_STEPS, LoadTarget.CHANNELS)
    assert loads(many, *weights) == loads(one, *weights)


@pytest.mark.parametrize(("batch", "together"), [(4, 4), (6, 3), (7, 1), (8, 4), (9, 3)])
def test_no_more_images_side_by_side_than_lanes(batch: int, together: int) -> None:
    """As many as divide the batch; of a prime number none."""
    compilation = check_program(linear(), TINY, batch)
    assert compilation.program.outputs[0].interleave == together
    assert len(compilation.plan.outputs) == batch // together


@pytest.mark.parametrize("config", [TINY, LITTLE], ids=["tiny", "little memory"])
def test_late_layers_are_joined(config: Config) -> None:
    """Behind the last step of two columns images lie side by side, on a small machine only where they are single pixels."""
    compilation = check_program(residual(config=config), config, 4)
    names = joined(compilation)
    assert names[-1] == "conv12"
    assert ("conv8" in names) == (config is TINY)
    assert "conv3" not in names


@pytest.mark.parametrize(("depth", "together"), [(80, 8), (150, 2), (200, 4), (400, 8)])
def test_fewer_images_side_by_side_where_memory_is_short(depth: int, together: int) -> None:
    """Maps of as many as fit; where none do, single pixels of as many as there are lanes."""
    config = dataclasses.replace(TINY, columns=8, activation_buffer_depth=depth)
    compilation = check_program(residual(config=config), config, 8)
    assert compilation.program.outputs[0].interleave == together
    assert ("conv8" in joined(compilation)) == (depth > 80)


def test_small_results_wait_on_chip_and_large_ones_in_memory() -> None:
    small = check_program(residual(), TINY, 4)
    assert small.plan.partial
    assert not small.plan.parked
    large = Builder(LITTLE, (7, 7, 4), seed=3)
    large.conv(large.maximum("input", kernel=(3, 3), stride=(2, 2)), 64, kernel=(3, 3))
    compilation = check_program(large, dataclasses.replace(LITTLE, activation_buffer_depth=40), 4)
    assert {name.partition(" #")[0] for name in compilation.plan.parked} == {"max0"}
    assert compilation.program.scratch_bytes


def test_a_global_average_in_parts() -> None:
    """Each image's planes come some at a time, and go to the image's pixel."""
    config = dataclasses.replace(LITTLE, activation_buffer_depth=120)
    net = Builder(config, (6, 6, 64), seed=3)
    net.conv(net.global_average("input"), 8)
    compilation = check_program(net, config, 3)
    assert [segment.parts > 1 for segment in compilation.scheduler.segments] == [True, True, True, False]


def test_layers_are_those_of_one_image() -> None:
    net = residual()
    one, many = (check_program(net, TINY, batch).program for batch in (1, 3))
    alone = {layer.name: layer for layer in one.layers}
    together = {layer.name: layer for layer in many.layers}
    copies = {name for name in together if together[name].operation == "images side by side"}
    assert together.keys() - copies == alone.keys()
    assert all(together[name].macs == 3 * layer.macs for name, layer in alone.items())
    assert many.outputs[0].name == one.outputs[0].name


def test_a_kernel_wider_than_runs_can_tell() -> None:
    """Taps of four images are up to 156 columns apart; without padding no column is asked for."""
    net = Builder(TINY, (2, 40, 4), seed=2)
    net.conv(net.conv("input", 8, kernel=(2, 40), density=0.5), 6)
    assert joined(check_program(net, TINY, 4)) == ["conv0", "conv1"]
    padded = Builder(TINY, (2, 40, 4), seed=2)
    padded.conv(padded.conv("input", 8, kernel=(2, 41), padding=(0, 1)), 6)
    compilation = check_program(padded, TINY, 4)
    assert joined(compilation) == ["conv0", "conv1"] * 2  # of two images taps are near enough
    assert compilation.program.outputs[0].interleave == 2


def test_what_can_be_joined() -> None:
    """Steps of several columns would part images, unless there is one result a row; whoever needs a result must be joined as well."""
    net = Builder(TINY, (9, 9, 4))
    first = net.conv("input", 4, kernel=(3, 3), padding=(1, 1))
    second = net.conv(first, 4, stride=(2, 2))
    third = net.depthwise(second, kernel=(5, 5), stride=(2, 2), padding=(0, 0))
    net.conv(third, 4)
    operators = select(net)
    assert [is_joinable(operator, 4) for operator in operators] == [True, False, True, True]
    assert joinable_from(operators, 4) == [2, 3]
    many = join(operators[0], 4)
    assert (many.window.padding, many.window.dilation, many.output.width, many.output.images) == ((1, 4), (1, 4), 36, 4)
    assert many.window.output_size(9, 36) == (9, 36)
    assert all(operator.kind is not Kind.PLANES for operator in operators)


@pytest.mark.parametrize("build", [linear, residual])
def test_every_order_gives_the_same_bytes(build: object) -> None:
    net = build(config=TINY)  # type: ignore[operator]
    network, images = net.network(), net.images(batch=3)
    program = compile_network(network, TINY, net.image, batch=3)
    expected = network.run(images)
    for choose in [*itertools.islice(priorities(), 0, None, 4), at_random(1), at_random(2)]:
        output = program.read_outputs(run_interleaved(program, images, choose))[program.outputs[0].name]
        np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("batch", [0, -3, MAX_BATCH + 1])
def test_no_batch(batch: int) -> None:
    message = f"batch must be 1 to 1024 images, not {batch}; compile for 1 to 1024 and run more than once"
    with pytest.raises(CompileError, match=f"^{re.escape(message)}$"):
        compile_network(linear().network(), TINY, (1, 1, 32), batch=batch)


def test_names_that_coincide() -> None:
    """A copy that joins images has a name of its own."""
    net = Builder(TINY, (7, 7, 4), seed=3)
    net.conv(net.maximum(net.conv("input", 4), kernel=(3, 3), stride=(2, 2)), 64, kernel=(3, 3))
    check_program(net, TINY, 2)
    first, second, third = net.nodes
    net.nodes = [
        dataclasses.replace(first, name="max1 joined"),  # type: ignore[call-arg]
        dataclasses.replace(second, inputs=("max1 joined",)),  # type: ignore[call-arg]
        third,
    ]
    with pytest.raises(CompileError, match=r"^max1 joined #0: names of layers must differ from those of joined images; rename the layer$"):
        compile_network(net.network(), TINY, net.image, batch=2)
