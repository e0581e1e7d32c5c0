"""AXI reader: transfers of several clients to bursts of the memory bus, and the beats back to whom they belong."""

from collections.abc import Sequence

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .axi import AxiError, AxiReadSignature, drive_constants, error_layout, transfer_layout
from .burst_splitter import BurstSplitter, burst_layout
from .skid_buffer import SkidBuffer

__all__ = ["AxiReader", "beat_layout"]


def beat_layout(data_width: int) -> data.StructLayout:
    """Lay out a beat that was read: its bytes, and whether it is its transfer's last."""
    return data.StructLayout({"data": unsigned(data_width), "last": 1})


class AxiReader(wiring.Component):
    """Read memory for several clients, each of which gets its beats in the order of its transfers.

    A burst is asked for only when its client's queue has room for all of it, so the bus never waits: ``rready`` is always high, and no
    client stands in another's way. Of clients that could go on the first comes first; it cannot starve the others, for it waits
    itself until it has taken what it asked for.

    After a fault, or while ``i_stop`` is high, no burst is begun, and what still comes is dropped; only reset ends this. A burst is over at
    ``rlast``, so the bus is quiet again (``o_idle``) even after one of the wrong length.

    Latency: `LATENCY` cycles from a transfer to its address on the bus, and `RETURN_LATENCY` from the bus to the client.
    Throughput: one beat a cycle from burst to burst and from transfer to transfer, as long as ``depths`` and ``outstanding`` cover the
    memory's latency. Flow control: streams. Source: AMBA AXI protocol specification, IHI 0022.

    Parameters
    ----------
    data_width : int
        Bits of a beat.
    id_width : int
        Bits of transaction identifiers; all bursts have identifier 0, so they come in order.
    max_burst : int
        Beats of the longest burst, see `BurstSplitter`.
    outstanding : int
        Bursts under way.
    depths : sequence of int
        Beats that each client's queue holds: latency of the memory and a burst, for full throughput.
    bytes_width : int
        Bits of a transfer's length.

    Members
    -------
    bus : Out
        Channels AR and R.
    i_transfers : In, array of streams
        What each client wants to read.
    o_beats : Out, array of streams
        What was read.
    i_stop : In
        Begin nothing more; once high it stays until reset.
    o_error : Out
        A faulty beat and its address, for one cycle.
    o_error_client : Out
        Whose it is.
    o_idle : Out
        No burst is under way.

    Raises
    ------
    ValueError
        When a queue cannot hold a burst.
    """

    LATENCY = BurstSplitter.LATENCY + 2
    RETURN_LATENCY = 3

    def __init__(
        self,
        *,
        data_width: int,
        depths: Sequence[int],
        id_width: int = 1,
        max_burst: int = 16,
        outstanding: int = 16,
        bytes_width: int = 26,
    ):
        # What is on its way through a buffered queue fills one of fewer than 3 before it is full.
        shortest = max(max_burst, 3)
        if not depths or min(depths) < shortest:
            raise ValueError(f"depths must be one a client, each at least {shortest}, not {list(depths)}")
        self.data_width = data_width
        self.id_width = id_width
        self.max_burst = max_burst
        self.outstanding = outstanding
        self.depths = tuple(depths)
        self.bytes_width = bytes_width
        super().__init__({
            "bus": Out(AxiReadSignature(data_width=data_width, id_width=id_width)),
            "i_transfers": In(stream.Signature(transfer_layout(bytes_width))).array(len(self.depths)),
            "o_beats": Out(stream.Signature(beat_layout(data_width))).array(len(self.depths)),
            "i_stop": In(1),
            "o_error": Out(error_layout()),
            "o_error_client": Out(range(max(2, len(self.depths)))),
            "o_idle": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        beat_bytes = self.data_width // 8
        byte_bits = (beat_bytes - 1).bit_length()
        place_bits = (self.max_burst - 1).bit_length()
        num_clients = len(self.depths)
        failed = Signal()
        stopped = Signal()
        m.d.comb += stopped.eq(self.i_stop | failed)

        # Each client's bursts wait until its queue has room.
        taken = Signal(num_clients)
        wants = Signal(num_clients)
        bursts, queues = [], []
        for client, depth in enumerate(self.depths):
            m.submodules[f"splitter_{client}"] = splitter = BurstSplitter(
                beat_bytes=beat_bytes, max_burst=self.max_burst, bytes_width=self.bytes_width
            )
            m.submodules[f"queue_{client}"] = queue = SyncFIFOBuffered(width=self.data_width + 1, depth=depth)
            m.submodules[f"waiting_{client}"] = waiting = SkidBuffer(burst_layout(beat_bytes))
            beats, burst = self.o_beats[client], waiting.o_data
            wiring.connect(m, wiring.flipped(self.i_transfers[client]), splitter.i_transfer)
            wiring.connect(m, splitter.o_burst, waiting.i_data)
            m.d.comb += [
                Cat(beats.payload.data, beats.payload.last).eq(queue.r_data),
                beats.valid.eq(queue.r_rdy),
                queue.r_en.eq(beats.ready),
            ]
            m.d.comb += burst.ready.eq(taken[client])

            free = Signal(range(depth + 1), init=depth, name=f"free_{client}")
            m.d.comb += wants[client].eq(burst.valid & (burst.payload.beats_minus_1 < free))
            m.d.sync += free.eq(free + (beats.valid & beats.ready) - Mux(taken[client], burst.payload.beats_minus_1 + 1, 0))
            bursts.append(burst.payload)
            queues.append(queue)

        # Choose, ask, and remember what was asked.
        flight_layout = data.StructLayout({"client": range(num_clients), "burst": burst_layout(beat_bytes)})
        m.submodules.in_flight = in_flight = SyncFIFO(width=flight_layout.size, depth=self.outstanding)
        chosen = Signal(flight_layout)
        for client in reversed(range(num_clients)):
            with m.If(wants[client]):
                m.d.comb += [chosen.client.eq(client), chosen.burst.eq(bursts[client])]
        may_begin = Signal()
        begins = Signal()
        m.d.comb += may_begin.eq(~stopped & (~bus.arvalid | bus.arready) & in_flight.w_rdy)
        m.d.comb += begins.eq(may_begin & wants.any())
        for client in range(num_clients):
            m.d.comb += taken[client].eq(may_begin & wants[client] & ~wants[:client].any())
        m.d.comb += [in_flight.w_data.eq(chosen), in_flight.w_en.eq(begins)]
        drive_constants(m, bus, "ar")
        with m.If(bus.arready):
            m.d.sync += bus.arvalid.eq(0)
        with m.If(begins):
            m.d.sync += bus.arvalid.eq(1)
            m.d.sync += [bus.araddr.eq(chosen.burst.address), bus.arlen.eq(chosen.burst.beats_minus_1)]

        # What comes back.
        m.d.comb += bus.rready.eq(1)
        arrived = Signal()
        beat = Signal(beat_layout(self.data_width))
        response = Signal(2)
        m.d.sync += [arrived.eq(bus.rvalid), beat.data.eq(bus.rdata), beat.last.eq(bus.rlast), response.eq(bus.rresp)]

        current = data.View(flight_layout, in_flight.r_data)
        number = Signal(range(self.max_burst))
        ends_burst = Signal()
        is_faulty = Signal()
        m.d.comb += ends_burst.eq(number == current.burst.beats_minus_1)
        m.d.comb += is_faulty.eq(arrived & ((response != 0) | (beat.last != ends_burst) | ~in_flight.r_rdy))
        m.d.comb += in_flight.r_en.eq(arrived & beat.last)
        with m.If(arrived):
            m.d.sync += number.eq(Mux(beat.last, 0, number + 1))
        with m.If(is_faulty):
            m.d.sync += failed.eq(1)
        for client, queue in enumerate(queues):
            m.d.comb += queue.w_data.eq(Cat(beat.data, ends_burst & current.burst.last))
            m.d.comb += queue.w_en.eq(arrived & ~is_faulty & ~stopped & (current.client == client))

        # Bursts stay within an aligned block, so only the place in it changes from beat to beat.
        address = current.burst.address
        place = Signal(place_bits)
        m.d.comb += place.eq(address[byte_bits:] + number)
        m.d.comb += [self.o_error.valid.eq(is_faulty), self.o_error_client.eq(current.client)]
        m.d.comb += self.o_error.error.eq(Mux(response[1], response, AxiError.PROTOCOL))
        m.d.comb += self.o_error.address.eq(Cat(address[:byte_bits], place, address[byte_bits + place_bits :]))
        m.d.comb += self.o_idle.eq(~bus.arvalid & ~in_flight.r_rdy & ~arrived)
        return m
