import io

from rich.console import Console

from crisp.progress import draw_progress


def test_a_bar_for_each_stage():
    text = io.StringIO()
    with draw_progress(Console(file=text, force_terminal=True, width=100)) as report:
        for step in range(1, 4):
            report("prune 1/2", step, 3, f"loss 0.{step}")
        report("prune 2/2", 1, 3, "loss 0.4")
    drawn = text.getvalue()
    assert "prune 1/2" in drawn
    assert "prune 2/2" in drawn
    assert "loss 0.3" in drawn
