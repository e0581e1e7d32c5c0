"""docs/pruning-settings.md: what single settings of the pruner are worth."""

import itertools
from collections.abc import Sequence

from crisp.report import markdown_table

from .document import drop_text, ends_text, level_heading, level_of, settings_text
from .methods import OURS
from .records import Record, by, reached
from .trials import Trial, find_trials

__all__ = ["trials_markdown"]


def trials_markdown(records: Sequence[Record], command: str, picture: str) -> str:
    """Return the page.

    Parameters
    ----------
    records : sequence of mapping
        Records, as `crisp.experiment.records.collect` gives them.
    command : str
        What measured them.
    picture : str
        Where `crisp.experiment.trials_plot.draw_trials` drew them, from the page.
    """
    parts = [
        "# What each setting is worth",
        f"Made by `crisp docs` from what `{command}` wrote; each record has its command, seed and commit. Every line is ours with "
        "what it names changed, and nothing else: points of accuracy that it is ahead of them, paired by classes and seed, "
        "bold where the 95% interval over seeds does not hold zero; of twenty variants that change nothing, one is bold by chance. "
        "[pruning.md](pruning.md#every-setting) says what settings mean.",
        f"![Points ahead of the defaults]({picture})",
    ]
    for network, trials in itertools.groupby(find_trials(records), lambda trial: trial.network):
        cell = [record for record in reached(records) if record["network"] == network and record["method"] == OURS]
        parts += [describe(network, cell), table(list(trials))]
    return "\n\n".join(parts) + "\n"


def describe(network: str, defaults: Sequence[Record]) -> str:
    """Return on what settings were tried, and how well the defaults do there."""
    levels = ", ".join(level_heading(*level) for level in sorted({level_of(record) for record in defaults}))
    speedup = sum(record["cycles_dense"] / record["cycles"] for record in defaults) / len(defaults)
    lines = [
        (", ".join(classes), f"{100 * sum(record['top1_dense'] for record in mine) / len(mine):.2f}%", drop_text(mine))
        for classes, mine in by(defaults, lambda record: tuple(record["classes"])).items()
    ]
    text = (
        f"{defaults[0]['data']}, {levels}, {defaults[0]['split']} images, {len({record['seed'] for record in defaults})} seeds for each "
        f"class set; ours is {speedup:.2f} times as fast as dense.{settings_text(defaults)}"
    )
    return f"## {network}\n\n{text}\n\n{markdown_table(('classes', 'dense, fine-tuned', 'points that ours loses'), lines)}"


def table(trials: Sequence[Trial]) -> str:
    """Return the variants of one network, the best first."""
    sets = list(dict.fromkeys(classes for trial in trials for classes in trial.by_classes))
    lines = []
    for trial in trials:
        bold = "**" * trial.gain.seeds.is_clear
        lines.append(
            (
                trial.name,
                f"`{trial.text}`",
                f"{bold}{trial.gain.seeds.mean:+.2f}{bold}",
                ends_text(trial.gain.seeds),
                *(f"{trial.by_classes[classes].seeds.mean:+.2f}" if classes in trial.by_classes else "" for classes in sets),
                f"x{trial.speedup:.2f}",
                f"{trial.sparsity:.1%}",
            )
        )
    headings = (
        "variant",
        "changed",
        "points ahead",
        "95%, seeds",
        *(f"of {len(classes)} classes" for classes in sets),
        "speed-up",
        "sparse",
    )
    return markdown_table(headings, lines)
