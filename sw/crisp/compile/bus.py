"""The memory bus over time: which cycles carry a beat of some LOAD or STORE."""

__all__ = ["Bus"]


class Bus:
    """Gives each transfer the first cycles that those before it have left.

    Reads and writes share the cycles of the bus. Transfers that run side by side slow each other down in truth; here the one that asks
    later is slowed down alone, and the last of them ends when it does in truth.
    """

    #: Stretches that are remembered: more than transfers are ever under way.
    STRETCHES = 256

    def __init__(self) -> None:
        #: Cycles that are taken, in order: the first and the one behind the last of each stretch.
        self.taken: list[tuple[int, int]] = []

    def take(self, start: int, beats: int) -> int:
        """Take ``beats`` cycles from ``start`` on; return the one behind the last of them."""
        if not beats:
            return start
        del self.taken[: -self.STRETCHES]
        index = len(self.taken)
        while index and self.taken[index - 1][1] > start:
            index -= 1
        now = start
        while index < len(self.taken) and beats > self.taken[index][0] - now:
            low, high = self.taken[index]
            if low > now:
                self.taken[index] = now, high
                beats -= low - now
            now = high
            index += 1
        self.taken.insert(index, (now, now + beats))
        return now + beats
