"""Command queue: commands go on in order when they may, and the oldest is known until it is complete."""
# amaranth: UnusedElaboratable=no

import random

import cocotb
import pytest
from tests.hw.bench import Process

from crisp.arch import STORE
from crisp_hw.command_layouts import queued_layout, tag_layout, waits_layout
from crisp_hw.command_queue import CommandQueue
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec

UNDER_WAY = 3


class Model(Process):
    """Lets commands begin and ends them at random, and looks at what the queue says in every cycle."""

    def __init__(self, bench: Bench, source, sink) -> None:
        super().__init__(bench)
        self.source, self.sink = source, sink
        self.random = random.Random(f"{bench.seed} model")
        self.ended = 0
        self.most = 0
        self.ready = self.was_ready = self.complete = 0
        _, self.decode_tag = layout_codec(tag_layout())
        _, self.decode_waits = layout_codec(waits_layout())

    def step(self) -> None:
        dut = self.dut
        # Source and sink have sampled this cycle before: what they count includes it.
        taken = len(self.source.transfers) - self.source_now()
        begun = len(self.sink.transfers) - self.sink_now()
        assert begun - self.ended <= UNDER_WAY
        assert taken - begun <= parameters()["depth"]
        assert bool(int(dut.o_busy.value)) == (taken > self.ended)
        assert bool(int(dut.o_under_way.value)) == (begun > self.ended)
        if begun > self.ended or int(dut.o_command__valid.value):
            assert self.decode_tag(int(dut.o_oldest.value))["index"] == self.ended
        if int(dut.o_command__valid.value):
            waits = self.decode_waits(int(dut.o_waits.value))
            fields = self.source.transfers[begun]["fields"]
            assert waits == {name: fields[name] for name in waits}
        if not self.was_ready:
            assert not int(dut.o_command__valid.value)
        self.was_ready = self.ready
        # What the scoreboard says of a command comes from the cycle after it has become the oldest.
        earlier = [cycle for cycle in self.sink.cycles if cycle < self.bench.cycle]
        if int(dut.o_command__valid.value) and earlier:
            assert self.bench.cycle - earlier[-1] >= 3
        self.most = max(self.most, begun - self.ended)
        self.ended += self.complete

        # Drive the next cycle. Who may begin may do so until it has begun.
        has_begun = int(dut.o_command__valid.value) and int(dut.o_command__ready.value)
        self.ready = int((self.ready and not has_begun) or self.random.random() < 0.6)
        now = len(self.sink.transfers)
        self.complete = int(now > self.ended and self.random.random() < 0.3)
        dut.i_ready.value, dut.i_complete.value = self.ready, self.complete

    def source_now(self) -> int:
        """Whether a command was taken in this very cycle."""
        return int(bool(self.source.cycles) and self.source.cycles[-1] == self.bench.cycle)

    def sink_now(self) -> int:
        """Whether a command has begun in this very cycle."""
        return int(bool(self.sink.cycles) and self.sink.cycles[-1] == self.bench.cycle)


@cocotb.test()
async def commands_go_on(dut):
    bench = await Bench.start(dut, mode=parameters()["mode"])
    rng = random.Random(bench.seed)
    encode, decode = layout_codec(queued_layout(STORE))
    source, sink = bench.source("i_command", encode), bench.sink("o_command", decode)
    # What a source sends it keeps as an integer: decode what was taken.
    source.decode = decode
    model = Model(bench, source, sink)
    commands = [
        {
            "fields": {field.name: rng.randint(field.low, field.high) for field in STORE.fields},
            "tag": {"index": index, "unit": rng.getrandbits(27)},
        }
        for index in range(300)
    ]
    source.send(commands)
    await sink.expect(commands)
    await bench.until(lambda: model.ended == len(commands), what=lambda: f"{model.ended} commands ended")
    await bench.wait(2)
    assert not int(dut.o_busy.value)
    if bench.mode is Mode.FULL:
        assert model.most == UNDER_WAY


@cocotb.test()
async def as_many_wait_as_there_is_room_for(dut):
    """A command every three cycles when nothing is waited for; ``depth`` of them when something is."""
    bench = await Bench.start(dut, mode=parameters()["mode"])
    encode, decode = layout_codec(queued_layout(STORE))
    source, sink = bench.source("i_command", encode), bench.sink("o_command", decode)
    fields = {field.name: 0 for field in STORE.fields}
    source.send({"fields": fields, "tag": {"index": index, "unit": 0}} for index in range(20))
    await bench.wait(60)
    assert (len(source.transfers), len(sink.transfers)) == (parameters()["depth"], 0)
    dut.i_ready.value = dut.i_complete.value = 1
    await bench.until(lambda: len(sink.transfers) == 20, what=lambda: "all commands must go on")
    if bench.mode is Mode.FULL:
        sink.check_throughput(3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("depth", [1, 4])
def test_command_queue(depth, mode):
    component = CommandQueue(word=STORE, depth=depth, under_way=UNDER_WAY)
    simulate(component, __file__, name="command_queue", parameters={"mode": mode, "depth": depth})
