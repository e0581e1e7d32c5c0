"""What a terminal shows of work. How far it has come: what works calls a function, and who wants to see it gives one that draws."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

__all__ = ["Report", "draw_progress", "print_plain", "silent"]

#: Called with the stage ("epoch 3/10"), steps done, steps of the stage in all, and a word on how it goes ("loss 0.31").
Report = Callable[[str, int, int, str], None]


def silent(stage: str, done: int, total: int, note: str) -> None:
    """Report to nobody."""


@contextmanager
def draw_progress(console: Console | None = None) -> Iterator[Report]:
    """Draw a bar for each stage on ``console`` while the context lasts."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bars: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int, note: str) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total, note=note)
            progress.update(bars[stage], completed=done, total=total, note=note)

        yield report


def print_plain(console: Console, text: str, style: str | None = None) -> None:
    """Print ``text`` as it is, brackets and long lines included, so that it can be pasted; nothing where it is empty."""
    if text:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
