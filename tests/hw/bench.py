"""What the tests of blocks share: play a table of inputs cycle by cycle, and look at outputs in every cycle."""

from collections.abc import Mapping, Sequence

from crisp_sim.streams import Bench

__all__ = ["Process", "play"]


class Process:
    """Something that a bench steps at every rising edge: samples the cycle that ends, drives the one that begins.

    Parameters
    ----------
    bench : Bench
        The bench; ``bench.cycle`` is the number of the cycle that ends.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.dut = bench.dut
        bench.processes.append(self)

    def step(self) -> None:
        """One rising edge."""
        raise NotImplementedError

    def forget(self) -> None:
        """Nothing to forget at reset."""

    def stop(self) -> None:
        """Step no more."""
        self.bench.processes.remove(self)


class Player(Process):
    """Drive and record ports; see `play`."""

    def __init__(self, bench: Bench, inputs: Mapping[str, Sequence[int]], outputs: Sequence[str], tail: int) -> None:
        super().__init__(bench)
        self.inputs = [(getattr(self.dut, name), [int(value) for value in values]) for name, values in inputs.items()]
        self.outputs = [(getattr(self.dut, name), name) for name in outputs]
        self.recorded: dict[str, list[int]] = {name: [] for name in outputs}
        (self.length,) = {len(values) for _, values in self.inputs}
        self.total = self.length + tail
        self.time = -1

    def step(self) -> None:
        if self.time >= 0:
            for port, name in self.outputs:
                self.recorded[name].append(int(port.value))
        self.time += 1
        if self.time < self.length:
            for port, values in self.inputs:
                if self.time == 0 or values[self.time] != values[self.time - 1]:
                    port.value = values[self.time]


async def play(bench: Bench, inputs: Mapping[str, Sequence[int]], outputs: Sequence[str], *, tail: int = 0) -> dict[str, list[int]]:
    """Drive ports from a table, one entry a cycle, and record others in the same cycles.

    Parameters
    ----------
    bench : Bench
        The bench.
    inputs : mapping
        Unsigned integers for each port, all of equal number; the last ones stay.
    outputs : sequence of str
        Ports to record.
    tail : int
        Cycles to record beyond the table.

    Returns
    -------
    dict
        What each output was: entry t was seen in the cycle in which entry t of the inputs was driven.
    """
    player = Player(bench, inputs, outputs, tail)
    await bench.until(
        lambda: player.time >= player.total,
        progress=lambda: player.time,
        what=lambda: f"played {player.time} of {player.total} cycles",
    )
    player.stop()
    return player.recorded
