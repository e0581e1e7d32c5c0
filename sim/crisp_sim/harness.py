"""The layer engine under Verilator, driven by C++: the fast way to run a layer on the hardware.

`EngineSimulator` builds the engine of a configuration once, as a shared library in the build cache, and runs layers on it.
"""

import ctypes
import dataclasses
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crisp.arch import COUNTERS, LAYER, Config, ProductLayer, layer_command

from .engine_build import build_engine, describe_engine, describe_ports
from .errors import EngineFault, SimulationError, SimulationTimeout

if TYPE_CHECKING:
    from amaranth.lib.wiring import Component

__all__ = ["Counters", "EngineRun", "EngineSimulator"]

#: Cycles between two calls of the progress callback.
CHUNK = 200_000

#: Cycles without a transfer that are a standstill whatever the layer, besides those that a tile computes.
PATIENCE = 2_000

RUNNING, FINISHED, STALLED, OVERFLOWED, EARLY = range(5)

#: The streams that hold a layer's weights, in the order in which they are loaded.
LOADS = ("i_step", "i_count", "i_entry", "i_channel")


Counters = dataclasses.make_dataclass(
    "Counters",
    [(field.name, int) for field in COUNTERS.fields],
    frozen=True,
    namespace={"__doc__": "Counters of the engine after a layer: the fields of the word `COUNTERS`."},
)


@dataclasses.dataclass(frozen=True, eq=False)
class EngineRun:
    """What a layer gave on the simulated engine.

    Parameters
    ----------
    output : numpy.ndarray
        ``int8`` of shape (O, P).
    counters : Counters
        The engine's own counters.
    cycles : int
        From the cycle in which the command was offered to that in which the engine was done.
    load_cycles : int
        Cycles that loading weights and channel parameters took before.
    seconds : float
        Wall-clock time of both.
    """

    output: np.ndarray
    counters: Any
    cycles: int
    load_cycles: int
    seconds: float


class EngineSimulator:
    """A simulated layer engine.

    Parameters
    ----------
    config : Config
        Size of the engine.
    engine : Component, optional
        Another component with the engine's ports, such as a broken one; default is ``crisp_hw.engine.LayerEngine``.
    idle, stall : float
        Probability that a stream into the engine pauses for a cycle, and that one out of it does.
    seed : int
        Seed of these pauses.
    trace : Path, optional
        Where to record waves, as VCD; default is ``$CRISP_TRACE`` when it names a ``.vcd`` file.
    log : callable, optional
        Told when a build starts and ends; default prints to standard error.

    Raises
    ------
    BuildError, ToolError
        When the engine cannot be built.
    """

    def __init__(
        self,
        config: Config,
        *,
        engine: "Component | None" = None,
        idle: float = 0.0,
        stall: float = 0.0,
        seed: int = 1,
        trace: Path | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        for name, value in (("idle", idle), ("stall", stall)):
            if not 0 <= value < 1:
                raise SimulationError(f"{name} must be a probability less than 1, so that work goes on, not {value}")
        if trace is None and os.environ.get("CRISP_TRACE", "").endswith(".vcd"):
            trace = Path(os.environ["CRISP_TRACE"])
        self.config = config
        if engine is None:
            verilog, self.ports = describe_engine(config)
        else:
            from crisp_hw.verilog import emit

            verilog, self.ports = emit(engine, "engine"), describe_ports(engine)
        library = build_engine(config, verilog, self.ports, trace=trace is not None, log=log or _log)
        self._library = _load(library)
        self._engine: int | None = self._library.crisp_create()
        self._library.crisp_set_stalls(self._engine, seed, idle, stall)
        if trace is not None:
            self._library.crisp_open_trace(self._engine, str(trace).encode())
        self._pause = 1 / ((1 - idle) * (1 - stall))

    def close(self) -> None:
        """Free the simulated engine and complete the waves; also done when the object goes."""
        if self._engine is not None:
            self._library.crisp_destroy(self._engine)
            self._engine = None

    def __del__(self) -> None:
        if getattr(self, "_engine", None) is not None:
            self.close()

    def reset(self) -> None:
        """Reset the engine; needed to go on after an error."""
        self._library.crisp_reset(self._engine)

    def read(self, name: str) -> int:
        """Return the value of an output port that belongs to no stream, such as ``o_digest``."""
        names = [reading.name for reading in self.ports.readings]
        if name not in names:
            raise SimulationError(f"no output {name!r}: there are {', '.join(names)}")
        index = names.index(name)
        buffer = ctypes.create_string_buffer(self.ports.readings[index].num_bytes)
        self._library.crisp_read(self._engine, index, buffer)
        return int.from_bytes(buffer.raw, "little")

    def run(
        self,
        layer: ProductLayer,
        x: np.ndarray,
        *,
        timeout_cycles: int | None = None,
        progress: Callable[[int, int, int], None] | None = None,
    ) -> EngineRun:
        """Load a layer, run it on activations, and collect the outputs.

        Only the words of K that some kept block uses are written to the windows, as the contract allows.

        Parameters
        ----------
        layer : ProductLayer
            The layer, packed for this configuration.
        x : numpy.ndarray
            ``int8`` of shape (K, P), K padded to whole groups.
        timeout_cycles : int, optional
            Cycles without a transfer after which the engine is held to be stuck; default follows from the layer.
        progress : callable, optional
            Called now and then with words of windows taken, all of them, and the cycles so far.

        Raises
        ------
        LayerError, CapacityError
            When the layer does not fit the configuration, or ``x`` not the layer.
        SimulationTimeout
            When nothing moved for ``timeout_cycles``: names layer, cycle and the streams that stood still.
        EngineFault
            When the engine sent more than it should, or reported to be done too early or more than once.

        After either of the last two call `reset` before the next layer.
        """
        start_time = time.perf_counter()
        layer.check_activations(x)
        num_pixels = x.shape[1]
        command = layer_command(layer, self.config, num_pixels)
        tile_steps = max(1, -(-layer.steps // command["row_tiles"]))
        patience = int((PATIENCE + 8 * tile_steps) * self._pause) if timeout_cycles is None else timeout_cycles

        load_cycles = self._load_weights(layer, patience)

        # Keep every buffer alive that the C++ side points to.
        tiles, words = command["pixel_tiles"], used_words(layer)
        pixels = np.zeros((tiles * self.config.columns, layer.num_inputs), np.int8)
        pixels[:num_pixels] = x.T
        records = np.frombuffer(LAYER.pack(**command).to_bytes(LAYER.num_bytes, "little"), np.uint8)
        outputs = [np.zeros((tiles, command["row_tiles"], len(lanes), self.config.bank_rows), np.int8) for _, lanes in self._sink_places()]
        self._set_source("i_layer", records, 1)
        self._library.crisp_set_windows(self._engine, _pointer(pixels), tiles, layer.num_inputs, _pointer(words), len(words))
        for index, output in enumerate(outputs):
            self._library.crisp_set_sink(self._engine, index, _pointer(output), output.size // self.config.bank_rows)
        start = self._library.crisp_cycle(self._engine)
        self._advance(layer, "run", True, patience, progress, tiles * len(words))
        if (count := self._library.crisp_done_count(self._engine)) != 1:
            raise EngineFault(f"{layer.name}: o_done must pulse once a layer, not {count} times")
        counters = Counters(**COUNTERS.unpack(self.read("o_counters")))
        return EngineRun(
            output=self._untile(outputs, layer.num_channels, num_pixels),
            counters=counters,
            cycles=self._library.crisp_done_cycle(self._engine) - start,
            load_cycles=load_cycles,
            seconds=time.perf_counter() - start_time,
        )

    def _load_weights(self, layer: ProductLayer, patience: int) -> int:
        """Load a layer's weights and channel parameters; return the cycles it took."""
        packed = layer.packed
        loads = {
            "i_step": self._encode_steps(packed),
            "i_count": packed.counts.astype("<u2"),
            "i_entry": packed.entries.astype("<u2"),
            "i_channel": layer.channel_words(),
        }
        arrays = {name: np.ascontiguousarray(array) for name, array in loads.items()}
        for name, array in arrays.items():
            self._set_source(name, array, len(array))
        start = self._library.crisp_cycle(self._engine)
        self._advance(layer, "load", False, patience, None, 0)
        for name in LOADS:
            self._set_source(name, np.zeros(0, np.uint8), 0)
        return self._library.crisp_cycle(self._engine) - start

    def _encode_steps(self, packed: Any) -> np.ndarray:
        """Return the steps as payloads of ``i_step``."""
        steps = packed.encode_steps()
        want = self.ports.sources[self.ports.source_index("i_step")].num_bytes
        if steps.shape[1] != want:
            raise SimulationError(f"a step must be {want} bytes, as i_step is, not {steps.shape[1]}")
        return steps

    def _set_source(self, name: str, records: np.ndarray, count: int) -> None:
        """Point the C++ side to what a stream will carry; the caller keeps ``records`` alive."""
        self._library.crisp_set_source(self._engine, self.ports.source_index(name), _pointer(records), count)

    def _sink_places(self) -> list[tuple[int, range]]:
        """Return the drain bank and the lanes of each output stream."""
        config = self.config
        width = config.bank_rows
        lanes = [range(first, min(first + width, config.columns)) for first in range(0, config.columns, width)]
        return [(bank, group) for bank in range(config.drain_rows) for group in lanes]

    def _untile(self, outputs: list[np.ndarray], num_channels: int, num_pixels: int) -> np.ndarray:
        """Put the words of all output streams where they belong: ``int8`` of shape (O, P)."""
        config = self.config
        tiles, row_tiles = outputs[0].shape[:2]
        # Pixel tile, lane, row tile, row: a pixel's channels lie together.
        whole = np.zeros((tiles, config.columns, row_tiles, config.rows), np.int8)
        for (bank, lanes), output in zip(self._sink_places(), outputs, strict=True):
            rows = slice(bank * config.bank_rows, (bank + 1) * config.bank_rows)
            whole[:, lanes.start : lanes.stop, :, rows] = output.transpose(0, 2, 1, 3)
        by_pixel = whole.reshape(tiles * config.columns, row_tiles * config.rows)
        return np.ascontiguousarray(by_pixel[:num_pixels, :num_channels].T)

    def _advance(
        self,
        layer: ProductLayer,
        phase: str,
        until_done: bool,
        patience: int,
        progress: Callable[[int, int, int], None] | None,
        total: int,
    ) -> None:
        """Run until all buffers are through; raise what went wrong."""
        library = self._library
        library.crisp_start(self._engine)
        start = library.crisp_cycle(self._engine)
        while (status := library.crisp_advance(self._engine, until_done, CHUNK, patience)) == RUNNING:
            if progress is not None:
                progress(self._status()["i_window"][2], total, library.crisp_cycle(self._engine) - start)
        if progress is not None and status == FINISHED:
            progress(total, total, library.crisp_cycle(self._engine) - start)
        if status == FINISHED:
            return
        states = self._status()
        cycle = library.crisp_cycle(self._engine) - start
        text = "; ".join(_tell(name, *state) for name, state in states.items() if state[2] != state[3] or state[0])
        if status == OVERFLOWED:
            raise EngineFault(f"{layer.name}: in cycle {cycle} of {phase} the engine sent more than the layer has: {text}")
        if status == EARLY:
            raise EngineFault(f"{layer.name}: in cycle {cycle} of {phase} the engine reported to be done, but was not: {text}")
        raise SimulationTimeout(
            f"{layer.name}: nothing moved for {patience} cycles up to cycle {cycle} of {phase}; "
            f"{text or 'all streams are through, but the engine is not done'}"
        )

    def _status(self) -> dict[str, tuple[int, ...]]:
        """Return valid, ready, moved and total of every stream."""
        order = [*self.ports.sources, self.ports.window, *self.ports.sinks]
        buffer = (ctypes.c_uint64 * (4 * len(order)))()
        self._library.crisp_status(self._engine, buffer)
        return {stream.name: tuple(buffer[4 * index : 4 * index + 4]) for index, stream in enumerate(order)}


def used_words(layer: ProductLayer) -> np.ndarray:
    """Return the words of K, that is groups, that some kept block of the layer uses: ``uint32``, ascending."""
    pattern = layer.packed.pattern
    used = np.zeros(pattern.groups, bool)
    for column in pattern.used_columns:
        first = column * pattern.block_groups
        used[first : first + pattern.column_groups[column]] = True
    return np.flatnonzero(used).astype(np.uint32)


def _load(path: Path) -> ctypes.CDLL:
    """Load the library and declare its functions."""
    library = ctypes.CDLL(str(path))
    pointer, number, small, real = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint, ctypes.c_double
    functions: dict[str, tuple[Any, list[Any]]] = {
        "crisp_create": (pointer, []),
        "crisp_destroy": (None, [pointer]),
        "crisp_reset": (None, [pointer]),
        "crisp_start": (None, [pointer]),
        "crisp_open_trace": (ctypes.c_int, [pointer, ctypes.c_char_p]),
        "crisp_set_stalls": (None, [pointer, number, real, real]),
        "crisp_set_source": (None, [pointer, small, pointer, number]),
        "crisp_set_windows": (None, [pointer, pointer, number, number, pointer, number]),
        "crisp_set_sink": (None, [pointer, small, pointer, number]),
        "crisp_advance": (ctypes.c_int, [pointer, ctypes.c_int, number, number]),
        "crisp_cycle": (number, [pointer]),
        "crisp_done_count": (number, [pointer]),
        "crisp_done_cycle": (number, [pointer]),
        "crisp_read": (None, [pointer, small, pointer]),
        "crisp_status": (None, [pointer, pointer]),
    }
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _pointer(array: np.ndarray) -> int:
    """Return the address of an array's first byte."""
    return array.ctypes.data


def _tell(name: str, valid: int, ready: int, moved: int, total: int) -> str:
    """Describe a stream that did not get through."""
    return f"{name} at {moved} of {total} (valid {valid}, ready {ready})"


def _log(text: str) -> None:
    """Tell the user that a build takes its time."""
    print(text, file=sys.stderr, flush=True)
