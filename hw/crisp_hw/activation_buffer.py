"""Activation buffer: the tensors on chip, in banks that serve a word a lane in every cycle."""

import dataclasses
import functools
import operator
from collections.abc import Iterable, Sequence

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .bank_scheduler import BankScheduler
from .layouts import read_request_layout, read_response_signature, slot_layout, write_request_layout
from .round_robin import RoundRobin

__all__ = ["ActivationBuffer"]


class ActivationBuffer(wiring.Component):
    """Read and write one word a lane at any addresses: address a lies in bank ``a mod banks``, at place ``a div banks``.

    ::

        i_reads  -> turn -> accept -> scheduler -> addresses -> RAMs -> register -> words back to lanes -> o_reads
        i_writes -> turn -> accept -> scheduler -> addresses and words -> register -> RAMs

    Lanes that want one bank are served one after the other, so that every request is right, and those whose lanes want different
    banks take one cycle: neighbouring addresses, for one, and every odd stride. Where a request reads what is written at the same time
    it may see the old word or the new one.

    Latency: `LATENCY` cycles from a read request to its answer, and more for each further cycle that it takes. Throughput: one read and
    one write request a cycle, all readers and writers together. Flow control: requests are streams, served in turn; answers cannot be
    held back.

    Parameters
    ----------
    columns : int
        Lanes of a request.
    group_size : int
        M, bytes of a word.
    banks : int
        A power of two, at least ``columns``.
    depth : int
        Words of a bank.
    num_readers, num_writers : int
        Streams of requests.

    Members
    -------
    i_reads : In, array of streams
        Requests of each reader.
    o_reads : Out, array
        Answers to each reader, in the order of its requests. Lanes that are not enabled read 0.
    i_writes : In, array of streams
        Requests of each writer. Where two lanes write one address the higher one stays.
    o_writing : Out, ``num_writers`` bits
        Accepted words of this writer are not yet in the RAM.
    o_idle : Out
        Nothing is under way.
    """

    LATENCY = 5

    def __init__(self, *, columns: int, group_size: int, banks: int, depth: int, num_readers: int = 3, num_writers: int = 2):
        if banks < columns or banks & (banks - 1):
            raise ValueError(f"banks must be a power of two and at least columns = {columns}, not {banks}")
        self.columns = columns
        self.group_size = group_size
        self.banks = banks
        self.depth = depth
        self.num_readers = num_readers
        self.num_writers = num_writers
        self.words = banks * depth
        read = stream.Signature(read_request_layout(columns, self.words))
        write = stream.Signature(write_request_layout(columns, group_size, self.words))
        super().__init__({
            "i_reads": In(read).array(num_readers),
            "o_reads": Out(read_response_signature(columns, group_size)).array(num_readers),
            "i_writes": In(write).array(num_writers),
            "o_writing": Out(num_writers),
            "o_idle": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        reads = self.schedule(m, "read", self.i_reads)
        writes = self.schedule(m, "write", self.i_writes)

        # A bank serves one lane a cycle.
        words = []
        for bank in range(self.banks):
            m.submodules[f"bank_{bank}"] = memory = Memory(shape=unsigned(8 * self.group_size), depth=self.depth, init=[])
            write = memory.write_port()
            granted = [grant[bank] for grant in writes.grants]
            m.d.sync += write.en.eq(Cat(granted).any())
            m.d.sync += write.addr.eq(select(granted, writes.places))
            m.d.sync += write.data.eq(select(granted, writes.words))

            read = memory.read_port()
            granted = [grant[bank] for grant in reads.grants]
            m.d.comb += read.en.eq(Cat(granted).any())
            m.d.comb += read.addr.eq(select(granted, reads.places))
            word = Signal(8 * self.group_size, name=f"word_{bank}", reset_less=True)
            m.d.sync += word.eq(read.data)
            words.append(word)

        # Grants go with the words through RAM and register. Those of a request that takes several cycles are collected.
        (reading, *_), (sources, first, last, grants) = delays(m, 2, [reads.sources, reads.first, reads.last, reads.grants])
        answer = Signal(slot_layout(self.columns, self.group_size), reset_less=True)
        for lane, grant in enumerate(grants):
            come = select(grant, words)
            m.d.sync += answer[lane].as_value().eq(Mux(first, 0, answer[lane].as_value()) | come)
        answered = Signal(self.num_readers)
        m.d.sync += answered.eq(Mux(last, sources, 0))
        for reader, port in enumerate(self.o_reads):
            m.d.comb += [port.valid.eq(answered[reader]), port.payload.eq(answer)]

        # What is under way.
        writing = Signal(self.num_writers)
        m.d.sync += writing.eq(writes.sources)
        m.d.comb += self.o_writing.eq(writes.waiting | writes.sources | writing)
        m.d.comb += self.o_idle.eq(~Cat(self.o_writing, reads.waiting, reads.sources, reading, sources).any())
        return m

    def schedule(self, m: Module, name: str, requests: Sequence[stream.Interface]) -> "Access":
        """Accept requests in turn and serve each until all its lanes have got their banks."""
        m.submodules[f"{name}_turn"] = turn = RoundRobin(num_requests=len(requests))
        m.submodules[f"{name}_scheduler"] = scheduler = BankScheduler(lanes=self.columns, banks=self.banks)
        bank_bits = (self.banks - 1).bit_length()
        has_words = "data" in requests[0].payload.shape().members

        # Accept: a register holds the request, the banks that it wants decoded.
        waiting = Signal(len(requests), name=f"{name}_waiting")
        accepts = Signal(name=f"{name}_accepts")
        payload = Signal(requests[0].payload.shape(), name=f"{name}_payload")
        m.d.comb += payload.as_value().eq(select(turn.o_grants, [request.payload.as_value() for request in requests]))
        m.d.comb += accepts.eq(~waiting.any() | scheduler.i_wanted.ready)
        m.d.comb += turn.i_requests.eq(Cat(request.valid for request in requests))
        m.d.comb += turn.i_taken.eq(accepts & turn.i_requests.any())
        m.d.comb += [request.ready.eq(accepts & grant) for request, grant in zip(requests, turn.o_grants, strict=True)]
        lanes = []
        for lane in range(self.columns):
            address = payload.addresses[lane]
            wanted = scheduler.i_wanted.payload[lane]
            place = Signal(range(max(2, self.depth)), name=f"{name}_place_{lane}", reset_less=True)
            word = Signal(8 * self.group_size, name=f"{name}_word_{lane}", reset_less=True)
            with m.If(accepts):
                m.d.sync += wanted.eq(Mux(payload.enables[lane], 1 << address[:bank_bits], 0))
                m.d.sync += place.eq(address[bank_bits:])
                if has_words:
                    m.d.sync += word.eq(payload.data[lane])
            lanes += [place, word]
        with m.If(accepts):
            m.d.sync += waiting.eq(turn.o_grants)
        m.d.comb += scheduler.i_wanted.valid.eq(waiting.any())

        # Serve: places and words stay beside the grants.
        sources = Signal(len(requests), name=f"{name}_sources")
        served = [Signal.like(signal, name=f"{signal.name}_served") for signal in lanes]
        with m.If(scheduler.i_wanted.ready):
            m.d.sync += sources.eq(waiting)
            m.d.sync += [register.eq(signal) for register, signal in zip(served, lanes, strict=True)]
        return Access(
            waiting=waiting,
            sources=sources,
            first=scheduler.o_first,
            last=scheduler.o_last,
            grants=scheduler.o_grants,
            places=served[::2],
            words=served[1::2],
        )


@dataclasses.dataclass(frozen=True)
class Access:
    """Requests of one direction.

    Parameters
    ----------
    waiting, sources : Signal
        Whose request is accepted, and whose is served; one-hot, or 0.
    first, last : Signal
        Of the request that is served this is the first, or last, cycle.
    grants : View
        For each of its lanes the bank that it gets in this cycle, one-hot, or 0.
    places, words : list of Signal
        For each of its lanes the place in the bank, and the word to write.
    """

    waiting: Signal
    sources: Signal
    first: Signal
    last: Signal
    grants: data.View
    places: list[Signal]
    words: list[Signal]


def select(selects: Iterable[Value], values: Iterable[Value]) -> Value:
    """Return the value whose bit is set, or 0. An AND and an OR a value are less to build, and to simulate, than a multiplexer."""
    return functools.reduce(operator.or_, (Mux(chosen, value, 0) for chosen, value in zip(selects, values, strict=True)))


def delays(m: Module, cycles: int, signals: list[Signal]) -> list[list[Signal]]:
    """Return signals as they were one cycle ago, two cycles ago, and so on."""
    stages = []
    for age in range(1, cycles + 1):
        stage = [Signal.like(signal, name=f"age_{age}_{number}") for number, signal in enumerate(signals)]
        m.d.sync += [register.eq(signal) for register, signal in zip(stage, signals, strict=True)]
        stages.append(stage)
        signals = stage
    return stages
