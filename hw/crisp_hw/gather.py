"""Gather: the windows of an EXECUTE's pixel tiles, word by word from the activation buffer. The golden model is ``crisp.golden.gather``."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from crisp.arch import EXECUTE, RUN, ErrorCode, ExecuteKind, Sharing, Spread
from crisp.arch.config import ACTIVATION_ADDRESS_WIDTH

from .cluster_share import turn_bits
from .lane_coordinate import LaneCoordinate
from .lane_ring import PLACE, LaneRing, go_on, ring_step_layout
from .layouts import read_request_layout, read_response_signature, window_word_layout, word_layout, write_port_layout
from .pixel_walk import PixelWalk
from .run_reader import RunReader

__all__ = ["Gather"]


class Gather(wiring.Component):
    """Gather the windows of all pixel tiles of a command, in the order of tile, part, run, word.

    ::

        i_command -> pixel walk: y, x, q of each lane -+-> positions -> request -> o_request ... i_response -> padding -> FIFO -+-> o_window
        i_run -> run reader: taps and planes ----------+                    +------------- which lanes ------------^            +-> o_pool

    Word w of a run lies for each lane at ``input_base + part * part_stride + plane + w * input_pitch + (q + pixels) mod input_ring``.
    A lane whose tap lies outside the image, and one beyond the last pixel, gets ``pad`` instead of being read.

    Latency: ``columns + 7`` cycles from the command to the first request. Throughput: a word a cycle, from run to run, window to window
    and tile to tile, if the activation buffer takes a request a cycle.
    Flow control: all streams; answers come back into room that was set aside when they were asked for. The next command is taken when all
    words of the one before are asked for.

    Parameters
    ----------
    columns : int
        Columns of the array, and lanes.
    group_size : int
        M, bytes of a word.
    words : int
        Words of the activation buffer.
    run_depth : int
        Runs of the run buffer.
    clusters : int
        Clusters that windows are for.

    Members
    -------
    i_command : In, stream
        Commands `EXECUTE`.
    i_run : In
        Write a run.
    o_request : Out, stream
        Read requests to the activation buffer.
    i_response : In
        Its answers.
    o_window, o_pool : Out, streams
        Words of windows that are multiplied, and of those whose maximum is taken; never both at a time.
    o_targets : Out
        Clusters that the word of a window is for.
    o_busy : Out
        A command is at work, or words have not left.
    o_error : Out
        An address lies outside the activation buffer, a run more than a ring away, or the runs of a window do not list the words that it
        has. It belongs to the command that was taken last.
    o_error_code : Out, `ErrorCode`
        With ``o_error``: which of both.
    """

    #: Words that are asked for and have not left: the cycles from asking to leaving, and some for requests that take several.
    WORDS_UNDER_WAY = 16

    def __init__(self, *, columns: int, group_size: int, words: int, run_depth: int, clusters: int = 1):
        self.columns = columns
        self.group_size = group_size
        self.words = words
        self.run_depth = run_depth
        self.clusters = clusters
        word = stream.Signature(window_word_layout(columns, group_size))
        super().__init__({
            "i_command": In(stream.Signature(word_layout(EXECUTE))),
            "i_run": In(write_port_layout(word_layout(RUN), run_depth)),
            "o_request": Out(stream.Signature(read_request_layout(columns, words))),
            "i_response": In(read_response_signature(columns, group_size)),
            "o_window": Out(word),
            "o_pool": Out(word),
            "o_targets": Out(clusters),
            "o_busy": Out(1),
            "o_error": Out(1),
            "o_error_code": Out(ErrorCode),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()

        # A command, kept until all its words are asked for.
        command = Signal(word_layout(EXECUTE))
        running = Signal()
        start = Signal()
        ends_command = Signal()
        asks = Signal()  # words of the command are on their way to the request
        m.d.comb += self.i_command.ready.eq(~running & ~asks)
        accepts = self.i_command.valid & self.i_command.ready
        m.d.sync += start.eq(accepts)
        with m.If(accepts):
            m.d.sync += [command.eq(self.i_command.payload), running.eq(1)]
        with m.If(ends_command):
            m.d.sync += running.eq(0)

        # Where the lanes stand.
        m.submodules.walk = walk = PixelWalk(columns=self.columns)
        m.submodules.q = q = LaneRing(columns=self.columns)
        m.submodules.y = y = LaneCoordinate(columns=self.columns)
        m.submodules.x = x = LaneCoordinate(columns=self.columns)
        m.d.comb += [walk.i_start.eq(start), walk.i_pixels.eq(command.pixels), walk.i_width.eq(command.width)]
        m.d.comb += [walk.i_first_column.eq(command.first_column), walk.i_tile_columns.eq(command.tile_columns)]
        m.d.comb += [lanes.i_walk.eq(walk.o_walk) for lanes in (q, y, x)]
        m.d.comb += [q.i_first.eq(command.first_q), q.i_lane_step.eq(command.lane_dq), q.i_tile_step.eq(command.tile_dq)]
        m.d.comb += [q.i_wrap_step.eq(command.wrap_dq), q.i_ring.eq(command.input_ring)]
        m.d.comb += [y.i_first.eq(command.first_y), y.i_tile_step.eq(command.tile_dy), y.i_wrap_step.eq(command.wrap_dy)]
        m.d.comb += [x.i_first.eq(command.first_x), x.i_lane_step.eq(command.lane_dx)]
        m.d.comb += [x.i_tile_step.eq(command.tile_dx), x.i_wrap_step.eq(command.wrap_dx)]

        # The run at work, taken from those read ahead when the one before ends.
        m.submodules.runs = runs = RunReader(depth=self.run_depth)
        is_shared = command.sharing == Sharing.SHARED
        is_grouped = command.sharing == Sharing.GROUPED
        m.d.comb += [runs.i_write.eq(self.i_run), runs.i_start.eq(start), runs.i_stop.eq(ends_command), runs.i_base.eq(command.run_base)]
        m.d.comb += runs.i_windows.eq(Mux(command.sharing == Sharing.SPLIT, command.row_tiles, 1))
        next_run = runs.o_run.payload
        run_valid = Signal()
        run_layout = data.StructLayout({
            "dy": next_run.dy.shape(),
            "dx": next_run.dx.shape(),
            "places": ring_step_layout(),
            "base": ACTIVATION_ADDRESS_WIDTH + 1,
            "words_left": next_run.words_minus_1.shape(),
            "last_of_window": 1,
            "last_of_tile": 1,
            "targets": self.clusters,
        })  # fmt: skip
        run = Signal(run_layout)
        is_far = Signal()  # the run lies more than a ring away
        issue = Signal()
        ends_run = issue & (run.words_left == 0)
        m.d.comb += runs.o_run.ready.eq(running & (~run_valid | ends_run))

        # Parts of a tile: each has its window, and its planes where it is a group.
        parts_left = Signal.like(command.row_tiles)
        part_base = Signal.like(run.base)
        first_base = Signal.like(run.base)
        parts = Signal.like(command.row_tiles)
        m.d.comb += [first_base.eq(command.input_base), parts.eq(Mux(is_shared, 1, command.row_tiles))]
        last_of_tile = next_run.last & (parts_left == 1)
        with m.If(start | (runs.o_run.valid & runs.o_run.ready & last_of_tile)):
            m.d.sync += [parts_left.eq(parts), part_base.eq(first_base)]
        with m.Elif(runs.o_run.valid & runs.o_run.ready & next_run.last):
            m.d.sync += parts_left.eq(parts_left - 1)
            with m.If(is_grouped):
                m.d.sync += part_base.eq(add_up(part_base, command.part_stride))

        # Clusters that a window is for: all that have row tiles, or the one whose turn it is.
        turn = Signal(turn_bits(self.clusters))
        targets = Signal(self.clusters)
        is_by_pixels = command.spread == Spread.PIXEL_TILES
        if self.clusters > 1:
            has_row_tile = Cat(command.row_tiles > cluster for cluster in range(self.clusters))
            m.d.comb += targets.eq(Mux(is_shared & ~is_by_pixels, has_row_tile, 1 << turn))
            with m.If(start):
                m.d.sync += turn.eq(0)
            with m.Elif(runs.o_run.valid & runs.o_run.ready & last_of_tile):
                m.d.sync += turn.eq(Mux(is_by_pixels, turn + 1, 0))
            with m.Elif(runs.o_run.valid & runs.o_run.ready & next_run.last):
                m.d.sync += turn.eq(turn + (is_grouped & ~is_by_pixels))
        else:
            m.d.comb += targets.eq(1)

        with m.If(issue):
            m.d.sync += [run.words_left.eq(run.words_left - 1), run.base.eq(add_up(run.base, command.input_pitch))]
        with m.If(runs.o_run.ready):
            back = next_run.pixels < 0
            beyond = next_run.pixels - command.input_ring
            before = next_run.pixels + command.input_ring
            m.d.sync += is_far.eq(Mux(back, before < 0, beyond > 0))
            m.d.sync += run_valid.eq(runs.o_run.valid & ~ends_command)
            m.d.sync += [run.dy.eq(next_run.dy), run.dx.eq(next_run.dx)]
            m.d.sync += run.places.step.eq(Mux(back, before, next_run.pixels))
            m.d.sync += run.places.less_ring.eq(Mux(back, next_run.pixels, beyond))
            m.d.sync += run.base.eq(add_up(part_base, next_run.plane))
            m.d.sync += run.words_left.eq(next_run.words_minus_1)
            m.d.sync += [run.last_of_window.eq(next_run.last), run.last_of_tile.eq(last_of_tile), run.targets.eq(targets)]

        # Ask for a word whenever there is room for the answer.
        moves = Signal()
        credits = Signal(range(self.WORDS_UNDER_WAY + 1), init=self.WORDS_UNDER_WAY)
        word_leaves = Signal()
        m.d.comb += issue.eq(run_valid & walk.o_ready & moves & (credits != 0))
        m.d.sync += credits.eq(credits - issue + word_leaves)
        m.d.comb += walk.i_advance.eq(ends_run & run.last_of_tile)
        m.d.comb += ends_command.eq(walk.i_advance & walk.o_last)

        # Positions of the lanes' taps.
        positions_valid = Signal()
        positions = Signal(
            data.StructLayout(
                {
                    "places": data.ArrayLayout(PLACE, self.columns),
                    "y": data.ArrayLayout(17, self.columns),
                    "x": data.ArrayLayout(17, self.columns),
                    "valids": self.columns,
                    "base": run.base.shape(),
                    "last": 1,
                    "targets": self.clusters,
                }
            )
        )
        with m.If(moves):
            m.d.sync += positions_valid.eq(issue)
            m.d.sync += [positions.valids.eq(walk.o_valids), positions.base.eq(run.base)]
            m.d.sync += [positions.last.eq(ends_run & run.last_of_window), positions.targets.eq(run.targets)]
            for lane in range(self.columns):
                m.d.sync += positions.places[lane].eq(go_on(q.o_places[lane], run.places))
                m.d.sync += positions.y[lane].eq(y.o_values[lane] + run.dy)
                m.d.sync += positions.x[lane].eq(x.o_values[lane] + run.dx)

        # The request: addresses, of lanes inside the image. A negative coordinate is, without its sign, beyond every image. One that cannot
        # leave at once is set aside, so that what moves does not depend on the buffer's turns: far too many registers would hang on that.
        request_layout = data.StructLayout({
            "addresses": data.ArrayLayout(run.base.shape(), self.columns),
            "enables": self.columns,
            "last": 1,
            "targets": self.clusters,
        })  # fmt: skip
        found = Signal(request_layout)
        m.d.comb += [found.last.eq(positions.last), found.targets.eq(positions.targets)]
        for lane in range(self.columns):
            inside = (positions.y[lane] < command.input_height) & (positions.x[lane] < command.input_width)
            m.d.comb += found.enables[lane].eq(positions.valids[lane] & inside)
            m.d.comb += found.addresses[lane].eq(add_up(positions.base, positions.places[lane]))
        request = Signal(request_layout)
        request_valid = Signal()
        aside = Signal(request_layout)
        is_aside = Signal()
        m.d.comb += moves.eq(~is_aside)
        with m.If(moves):
            m.d.sync += aside.eq(found)
        with m.If(~request_valid | self.o_request.ready):
            m.d.sync += [request_valid.eq(is_aside | positions_valid), request.eq(Mux(is_aside, aside, found)), is_aside.eq(0)]
        with m.Elif(moves):
            m.d.sync += is_aside.eq(positions_valid)
        m.d.comb += asks.eq(positions_valid | request_valid)
        m.d.comb += [self.o_request.valid.eq(request_valid), self.o_request.payload.enables.eq(request.enables)]
        m.d.comb += [self.o_request.payload.addresses[lane].eq(request.addresses[lane]) for lane in range(self.columns)]
        transfer = self.o_request.valid & self.o_request.ready
        outside = Cat(request.enables[lane] & (request.addresses[lane] >= self.words) for lane in range(self.columns)).any()

        # Find what is wrong. A window that is multiplied has as many words as its blocks need.
        window_word = Signal.like(command.window_words)
        ends_window = ends_run & run.last_of_window
        wrong_words = issue & (command.kind == ExecuteKind.PRODUCT) & ((window_word == command.window_words - 1) != ends_window)
        with m.If(issue):
            m.d.sync += window_word.eq(Mux(ends_window, 0, window_word + 1))
        m.d.sync += self.o_error.eq(runs.o_error | wrong_words | (issue & is_far) | (transfer & outside))
        m.d.sync += self.o_error_code.eq(Mux(transfer & outside, ErrorCode.ACTIVATION_RANGE, ErrorCode.RUN_RANGE))

        # Answers, with padding in the other lanes.
        to_width = self.clusters if self.clusters > 1 else 0
        asked_layout = data.StructLayout({
            "enables": self.columns,
            "pad": command.pad.shape(),
            "last": 1,
            "is_pool": 1,
            "targets": to_width,
        })  # fmt: skip
        asked = Signal(asked_layout)
        padding = Signal(asked_layout)
        m.submodules.asked = asked_fifo = SyncFIFO(width=asked_layout.size, depth=self.WORDS_UNDER_WAY)
        m.d.comb += [asked.enables.eq(request.enables), asked.pad.eq(command.pad), asked.last.eq(request.last)]
        m.d.comb += [asked.is_pool.eq(command.kind == ExecuteKind.MAX), asked.targets.eq(request.targets)]
        m.d.comb += [asked_fifo.w_data.eq(asked), asked_fifo.w_en.eq(transfer)]
        m.d.comb += [padding.eq(asked_fifo.r_data), asked_fifo.r_en.eq(self.i_response.valid)]

        word = Signal(window_word_layout(self.columns, self.group_size))
        m.submodules.answers = answers = SyncFIFO(width=word.shape().size + 1 + to_width, depth=self.WORDS_UNDER_WAY)
        for lane in range(self.columns):
            for byte, answer in zip(word.data[lane], self.i_response.payload[lane], strict=True):
                m.d.comb += byte.eq(Mux(padding.enables[lane], answer, padding.pad))
        m.d.comb += word.last.eq(padding.last)
        m.d.comb += [answers.w_data.eq(Cat(word, padding.is_pool, padding.targets)), answers.w_en.eq(self.i_response.valid)]

        # Words leave.
        is_pool = answers.r_data[word.shape().size]
        m.d.comb += self.o_targets.eq(answers.r_data[word.shape().size + 1 :] if self.clusters > 1 else 1)
        m.d.comb += [self.o_window.valid.eq(answers.r_rdy & ~is_pool), self.o_pool.valid.eq(answers.r_rdy & is_pool)]
        m.d.comb += [port.payload.as_value().eq(answers.r_data) for port in (self.o_window, self.o_pool)]
        m.d.comb += answers.r_en.eq(Mux(is_pool, self.o_pool.ready, self.o_window.ready))
        m.d.comb += word_leaves.eq(answers.r_rdy & answers.r_en)
        m.d.comb += self.o_busy.eq(running | (credits != self.WORDS_UNDER_WAY))
        return m


def add_up(address: Value, more: Value) -> Value:
    """Return the sum of a word's address and more; the topmost bit, once it is set, stays: no buffer has so many words."""
    total = address[:-1] + more
    return Cat(total[: len(address) - 1], address[-1] | total[len(address) - 1])
