"""AXI writer: transfers and their bytes to bursts of the memory bus."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .axi import AxiError, AxiWriteSignature, drive_constants, error_layout, transfer_layout
from .burst_splitter import BurstSplitter, burst_layout
from .skid_buffer import SkidBuffer

__all__ = ["AxiWriter"]


class AxiWriter(wiring.Component):
    """Write transfers to memory, a stream of beats for each.

    A burst is begun only when all its beats are in the queue, so it never holds the bus while it waits for data. The bytes
    behind a transfer's end are not written: strobes say which are.

    After a fault, or while ``i_stop`` is high, no burst is begun; those begun come to their end, but with no strobe, so that they change
    nothing any more. Only reset ends this.

    Latency: `LATENCY` cycles from the last beat of a burst to its address on the bus; data begins a cycle later. Throughput: one beat
    a cycle from burst to burst and from transfer to transfer. Flow control: streams; ``bready`` is always high. Source: AMBA AXI
    protocol specification, IHI 0022.

    Parameters
    ----------
    data_width : int
        Bits of a beat.
    id_width : int
        Bits of transaction identifiers; all bursts have identifier 0, so responses come in order.
    max_burst : int
        Beats of the longest burst, see `BurstSplitter`.
    outstanding : int
        Bursts under way.
    depth : int
        Beats that the queue holds: two bursts, for full throughput.
    bytes_width : int
        Bits of a transfer's length.

    Members
    -------
    bus : Out
        Channels AW, W and B.
    i_transfer : In, stream
        What is to be written.
    i_data : In, stream
        Its beats, as many as the transfer's bytes need, one transfer after the other.
    i_stop : In
        Begin nothing more; once high it stays until reset.
    o_done : Out
        The responses of one more transfer are in.
    o_error : Out
        A faulty response, and the address of its burst, for one cycle.
    o_idle : Out
        No burst is under way.

    Raises
    ------
    ValueError
        When the queue cannot hold a burst.
    """

    LATENCY = 2

    def __init__(
        self,
        *,
        data_width: int,
        id_width: int = 1,
        max_burst: int = 16,
        outstanding: int = 16,
        depth: int = 64,
        bytes_width: int = 26,
    ):
        if depth < max_burst:
            raise ValueError(f"depth must be at least max_burst = {max_burst}, not {depth}")
        self.data_width = data_width
        self.id_width = id_width
        self.max_burst = max_burst
        self.outstanding = outstanding
        self.depth = depth
        self.bytes_width = bytes_width
        super().__init__({
            "bus": Out(AxiWriteSignature(data_width=data_width, id_width=id_width)),
            "i_transfer": In(stream.Signature(transfer_layout(bytes_width))),
            "i_data": In(stream.Signature(unsigned(data_width))),
            "i_stop": In(1),
            "o_done": Out(1),
            "o_error": Out(error_layout()),
            "o_idle": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        beat_bytes = self.data_width // 8
        failed = Signal()
        stopped = Signal()
        m.d.comb += stopped.eq(self.i_stop | failed)

        # Bursts wait until all their beats are in the queue; ``available`` counts those that no burst was begun for.
        m.submodules.splitter = splitter = BurstSplitter(beat_bytes=beat_bytes, max_burst=self.max_burst, bytes_width=self.bytes_width)
        m.submodules.queue = queue = SyncFIFOBuffered(width=self.data_width, depth=self.depth)
        wiring.connect(m, wiring.flipped(self.i_transfer), splitter.i_transfer)
        m.d.comb += [queue.w_data.eq(self.i_data.payload), queue.w_en.eq(self.i_data.valid), self.i_data.ready.eq(queue.w_rdy)]
        m.submodules.waiting = waiting = SkidBuffer(burst_layout(beat_bytes))
        wiring.connect(m, splitter.o_burst, waiting.i_data)
        burst = waiting.o_data.payload
        available = Signal(range(self.depth + 1))
        begins = Signal()
        m.d.sync += available.eq(available + (queue.w_en & queue.w_rdy) - Mux(begins, burst.beats_minus_1 + 1, 0))

        # Begin: the address goes to the bus, the burst to those whose beats are to be sent, and to those that a response is due for.
        flight_layout = data.StructLayout({"address": burst.address.shape(), "last": 1})
        m.submodules.to_send = to_send = SyncFIFO(width=burst_layout(beat_bytes).size, depth=self.outstanding)
        m.submodules.in_flight = in_flight = SyncFIFO(width=flight_layout.size, depth=self.outstanding)
        may_begin = Signal()
        m.d.comb += may_begin.eq(~stopped & (~bus.awvalid | bus.awready) & to_send.w_rdy & in_flight.w_rdy)
        m.d.comb += waiting.o_data.ready.eq(may_begin & (burst.beats_minus_1 < available))
        m.d.comb += begins.eq(waiting.o_data.valid & waiting.o_data.ready)
        m.d.comb += [to_send.w_data.eq(burst), to_send.w_en.eq(begins)]
        m.d.comb += [in_flight.w_data.eq(Cat(burst.address, burst.last)), in_flight.w_en.eq(begins)]
        drive_constants(m, bus, "aw")
        with m.If(bus.awready):
            m.d.sync += bus.awvalid.eq(0)
        with m.If(begins):
            m.d.sync += bus.awvalid.eq(1)
            m.d.sync += [bus.awaddr.eq(burst.address), bus.awlen.eq(burst.beats_minus_1)]

        # Beats. The last one of a transfer may be short, and after a stop none has an effect.
        sent = data.View(burst_layout(beat_bytes), to_send.r_data)
        number = Signal(range(self.max_burst))
        ends_burst = Signal()
        sends = Signal()
        strobes = Signal(beat_bytes)
        m.d.comb += ends_burst.eq(number == sent.beats_minus_1)
        m.d.comb += strobes.eq(~0)
        with m.If(ends_burst & sent.last & (sent.tail_bytes != 0)):
            m.d.comb += [strobe.eq(byte < sent.tail_bytes) for byte, strobe in enumerate(strobes)]
        with m.If(stopped):
            m.d.comb += strobes.eq(0)
        m.d.comb += sends.eq(to_send.r_rdy & queue.r_rdy & (~bus.wvalid | bus.wready))
        m.d.comb += [queue.r_en.eq(sends), to_send.r_en.eq(sends & ends_burst)]
        with m.If(bus.wready):
            m.d.sync += bus.wvalid.eq(0)
        with m.If(sends):
            m.d.sync += number.eq(Mux(ends_burst, 0, number + 1))
            m.d.sync += bus.wvalid.eq(1)
            m.d.sync += [bus.wdata.eq(queue.r_data), bus.wstrb.eq(strobes), bus.wlast.eq(ends_burst)]

        # Responses.
        m.d.comb += bus.bready.eq(1)
        arrived = Signal()
        response = Signal(2)
        m.d.sync += [arrived.eq(bus.bvalid), response.eq(bus.bresp)]
        current = data.View(flight_layout, in_flight.r_data)
        is_faulty = Signal()
        m.d.comb += is_faulty.eq(arrived & ((response != 0) | ~in_flight.r_rdy))
        m.d.comb += in_flight.r_en.eq(arrived)
        with m.If(is_faulty):
            m.d.sync += failed.eq(1)
        m.d.comb += self.o_done.eq(arrived & ~is_faulty & ~stopped & current.last)
        m.d.comb += self.o_error.valid.eq(is_faulty)
        m.d.comb += self.o_error.error.eq(Mux(response[1], response, AxiError.PROTOCOL))
        m.d.comb += self.o_error.address.eq(current.address)
        m.d.comb += self.o_idle.eq(~bus.awvalid & ~bus.wvalid & ~to_send.r_rdy & ~in_flight.r_rdy & ~arrived)
        return m
