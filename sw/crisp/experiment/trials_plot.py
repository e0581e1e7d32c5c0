"""Picture of what single settings are worth: a row for each variant of ours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crisp.report import save_figure

from .style import finish
from .trials import Trial

__all__ = ["draw_trials"]

#: Fewer variants than this are no comparison of settings.
FEWEST = 3
#: Colour and mark of each class set; further ones begin again.
SETS = (("#0072b2", "v"), ("#d55e00", "^"), ("#009e73", "D"), ("#cc79a7", "s"))


def draw_trials(trials: Sequence[Trial], path: Path) -> bool:
    """Draw how many points variants of ours are ahead of its defaults; tell whether there are enough of them.

    Parameters
    ----------
    trials : sequence of Trial
        What `find_trials` found.
    path : Path
        PNG file to write.
    """
    if len(trials) < FEWEST:
        return False
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8.5, 0.3 * len(trials) + 1.8), layout="constrained")
    places = np.arange(len(trials))
    sets = list(dict.fromkeys(classes for trial in trials for classes in trial.by_classes))
    for number, classes in enumerate(sets):
        colour, mark = SETS[number % len(SETS)]
        means = [trial.by_classes[classes].seeds.mean if classes in trial.by_classes else np.nan for trial in trials]
        axes.plot(means, places, mark, color=colour, markersize=5, alpha=0.8, label=", ".join(classes))
    gains = [trial.gain.seeds for trial in trials]
    bars = [gain.half if np.isfinite(gain.half) else 0.0 for gain in gains]
    axes.errorbar(
        [gain.mean for gain in gains], places, xerr=bars, fmt="o", color="black", capsize=3, zorder=4, label="all, 95% over seeds"
    )
    networks = {trial.network for trial in trials}
    axes.set_yticks(places, [f"{trial.text}{f', {trial.network}' if len(networks) > 1 else ''}" for trial in trials], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("points ahead of the defaults, top-1")
    finish([axes])
    figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=8)
    save_figure(figure, path)
    return True
