"""docs/pruning-results.md: tables of what experiments measured."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from crisp.prune import PruneOptions
from crisp.report import markdown_table

from .levels import LevelKind
from .methods import METHODS, OURS
from .records import Record, by, of_kind, reached, separate
from .state import changed_settings, settings_words
from .statistics import Interval, compare, comparison_key, drops, seed_interval
from .style import methods_of

__all__ = ["pruning_markdown", "pruning_summary"]

#: Levels at which all methods take the same cycles.
EQUAL = (LevelKind.UNIFORM, LevelKind.CYCLES)


def pruning_markdown(records: Sequence[Record]) -> str:
    """Return the page.

    Parameters
    ----------
    records : sequence of mapping
        Records, as `crisp.experiment.records.collect` gives them.
    """
    records = separate(records)
    parts = [
        "# What pruning costs",
        "Made by `crisp docs` from `results/pruning.json`, which `crisp experiment` writes; each record has its command, seed and commit. "
        "[experiments.md](experiments.md) says how to repeat it and how to read it.",
        what_was_run(records),
        methods_section(records),
        level_section(records, EQUAL, "At equal cycles", EQUAL_CYCLES, "pruning-cycles"),
        differences_section(records),
        level_section(records, (LevelKind.SPARSITY,), "At equal sparsity", EQUAL_SPARSITY, "pruning-sparsity"),
        classes_section(records),
        int8_section(records),
        layers_section(records),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def pruning_summary(records: Sequence[Record]) -> str:
    """Return how many points methods lose at equal cycles, one line for each network and level: the README's table.

    Parameters
    ----------
    records : sequence of mapping
        Records, as `crisp.experiment.records.collect` gives them.
    """
    chosen = [record for record in of_kind(separate(records), *EQUAL) if record["base_method"] == record["method"]]
    methods = [OURS, *(method for method in methods_of(chosen) if method != OURS)]
    lines = []
    for (network, _), cell in sorted(by(chosen, lambda record: (record["network"], level_of(record))).items()):
        cells = [[record for record in cell if record["method"] == method] for method in methods]
        usable = [record for record in reached(cell) if run_of(record) in shared(cells)]
        if not usable:
            continue
        cells = [[record for record in found if record["note"] or record in usable] for found in cells]
        speed = float(np.mean([record["cycles_dense"] / record["cycles"] for record in usable]))
        lines.append((network, f"x{speed:.1f}", *(summary_cell(found, method) for method, found in zip(methods, cells, strict=True))))
    return markdown_table(("network", "speed-up", *(emphasis(method) for method in methods)), lines)


def shared(cells: Sequence[Sequence[Record]]) -> set[tuple[Any, ...]]:
    """Return the class sets and seeds that all methods have which have any: so that means of one line are over the same runs."""
    runs = [{run_of(record) for record in reached(cell)} for cell in cells]
    return set.intersection(*(found for found in runs if found)) if any(runs) else set()


def run_of(record: Record) -> tuple[Any, ...]:
    """Return class set and seed of a record."""
    return tuple(record["classes"]), record["seed"]


def summary_cell(records: Sequence[Record], method: str) -> str:
    """Return the drop of a method, or why there is none."""
    usable = reached(records)
    if not usable:
        return missing(records)
    text = drop_text(usable)
    return f"**{text}**" if method == OURS else text


def missing(records: Sequence[Record]) -> str:
    """Return what stands for records without an accuracy: a dash where a method cannot get so far, nothing where it was not tried."""
    return "-" if records and all(record["note"] for record in records) else ""


def drop_text(records: Sequence[Record]) -> str:
    """Return the mean drop of records, with its interval over seeds."""
    return interval_text(seed_interval(drops(records)))


EQUAL_CYCLES = (
    "Every method prunes until the network takes no more predicted cycles than one whose layers are all cut alike, 2:4 in blocks of 16, to "
    "the sparsity above the column. Points below the dense network that was fine-tuned alike with the same seed, mean over class sets and "
    "95% interval over seeds; then how many times as fast as dense, and the sparsity that took."
)
EQUAL_SPARSITY = (
    "Every method prunes the same share of the weights of the pruned layers. Points below the dense network that was fine-tuned alike; "
    "then the share of the network's multiplications that is left, and how many times as fast as dense by predicted cycles."
)


def what_was_run(records: Sequence[Record]) -> str:
    """Return on what all of it was measured."""
    done = reached(records)
    lines = []
    for network, cell in by(done, lambda record: record["network"]).items():
        sets = {tuple(record["classes"]) for record in cell}
        sizes = sorted({len(classes) for classes in sets})
        dense = [record for record in cell if record["base_method"] == "dense"]
        lines.append(
            (
                network,
                cell[0]["data"],
                ", ".join(f"{size}" for size in sizes),
                f"{len(sets)}",
                f"{len({record['seed'] for record in cell})}",
                f"{len(cell) - len(dense)}",
                mean_percent(record["top1_base"] for record in dense),
                mean_percent(record["top1_float"] for record in dense),
                f"{dense[0]['cycles_dense']:,}" if dense else "",
            )
        )
    headings = (
        "network",
        "data",
        "user classes",
        "class sets",
        "seeds",
        "networks pruned",
        "dense, as trained",
        "dense, fine-tuned",
        "cycles dense",
    )
    splits = ", ".join(sorted({record["split"] for record in done}))
    configs = ", ".join(f"`{config}`" for config in sorted({record["config"] for record in done}))
    commits = ", ".join(sorted({record["commit"] for record in done}))
    return (
        f"{markdown_table(headings, lines)}\n\nAccuracy is top-1 on the {splits} images of the user's classes. Cycles are those that the "
        f"compiler predicts for one image on {configs}. Commits (`-dirty`: the source was changed since): {commits}.{settings_text(done)}"
    )


def settings_text(records: Sequence[Record]) -> str:
    """Return in what the settings of ours differ from the library's defaults, network by network."""
    usual, texts = PruneOptions().to_dict(), {}
    for network, cell in by((record for record in records if record["method"] == OURS), lambda record: record["network"]).items():
        texts[network] = ", ".join(f"`{word}`" for word in settings_words(changed_settings(cell[0]["options"], usual)))
    lines = "; ".join(
        f"{text} ({', '.join(name for name in texts if texts[name] == text)})" for text in dict.fromkeys(texts.values()) if text
    )
    return f" Settings are the library's but for {lines}." if lines else ""


def methods_section(records: Sequence[Record]) -> str:
    """Return what methods there are."""
    lines = []
    for name, base in methods_of(reached(records)).items():
        text = METHODS[name].text if name in METHODS else f"As {METHODS[base].label}, with other settings."
        cell = [record for record in records if record["method"] == name]
        patterns = sorted({record["pattern"] for record in reached(cell)})
        lines.append((label(name), f"`{name}`", text, ", ".join(patterns)))
    return f"## Methods\n\n{markdown_table(('method', 'name', 'what it does', 'patterns'), lines)}"


def level_section(records: Sequence[Record], kinds: Sequence[LevelKind], title: str, text: str, picture: str) -> str:
    """Return a table for each network and number of classes: methods down, levels across."""
    chosen = of_kind(records, *kinds)
    if not chosen:
        return ""
    tables = []
    for (network, size), cell in by(chosen, lambda record: (record["network"], len(record["classes"]))).items():
        levels = sorted({(record["level"]["kind"], record["level"]["value"]) for record in cell})
        lines = []
        for method in methods_of(cell):
            mine = [record for record in cell if record["method"] == method]
            cells = [level_cell([record for record in mine if level_of(record) == level], title == "At equal sparsity") for level in levels]
            lines.append((emphasis(method), *cells))
        headings = ("method", *(level_heading(*level) for level in levels))
        tables.append(f"{network}, {size} user classes:\n\n{markdown_table(headings, lines)}")
    whole = "\n\n".join(tables)
    return f"## {title}\n\n![{title}](../results/{picture}.png)\n\n{text} A level that a method cannot reach has a dash.\n\n{whole}"


def level_cell(records: Sequence[Record], is_sparsity: bool) -> str:
    """Return a cell: drop with its interval, then what it took."""
    usable = reached(records)
    if not usable:
        return missing(records)
    drop = drop_text(usable)
    speed = float(np.mean([record["cycles_dense"] / record["cycles"] for record in usable]))
    took = f"{np.mean([record['macs_kept'] for record in usable]):.1%} of MACs" if is_sparsity else ""
    sparse = "" if is_sparsity else f"{np.mean([record['sparsity'] for record in usable]):.1%} sparse"
    return f"**{drop}**; {', '.join(text for text in (took, f'x{speed:.2f}', sparse) if text)}"


def differences_section(records: Sequence[Record]) -> str:
    """Return how many points ours is ahead of each other method at equal cycles."""
    chosen = of_kind(reached(records), *EQUAL)
    lines = []
    for network, cell in by(chosen, lambda record: record["network"]).items():
        for level, found in sorted(by(cell, level_of).items()):
            methods = methods_of(found)
            if OURS not in methods:
                continue
            for method in methods:
                pairs = paired(found, method)
                if method == OURS or not pairs:
                    continue
                difference = compare(pairs, is_method(OURS), is_method(method))
                lines.append(
                    (
                        network,
                        level_heading(*level),
                        label(method),
                        f"{difference.pairs} of {difference.sets}",
                        f"{'**' * difference.seeds.is_clear}{difference.seeds.mean:+.2f}{'**' * difference.seeds.is_clear}",
                        *(
                            ends_text(interval)
                            for interval in (difference.seeds, difference.over_pairs, difference.clustered, difference.bootstrap)
                        ),
                    )
                )
    if not lines:
        return ""
    headings = (
        "network",
        "level",
        "ours ahead of",
        "pairs of sets",
        "points",
        "95%, seeds",
        "95%, pairs",
        "95%, class sets",
        "95%, bootstrap",
    )
    return (
        "## How far ours is ahead, at equal cycles\n\nPoints of accuracy, paired by classes and seed; bold where the interval over seeds, "
        "for these class sets, does not hold zero. The other intervals ask whether it would be so for class sets that were not tried, and "
        "are wide, since sets are few and differ in how much there is to lose: [experiments.md](experiments.md).\n\n"
        f"{markdown_table(headings, lines)}"
    )


def classes_section(records: Sequence[Record]) -> str:
    """Return the picture of the number of classes, where there are several."""
    sizes = {len(record["classes"]) for record in reached(records) if record["level"] is not None}
    return "" if len(sizes) < 2 else "## By number of user classes\n\n![Drop by number of user classes](../results/pruning-classes.png)"


def int8_section(records: Sequence[Record]) -> str:
    """Return what int8 costs."""
    lines = []
    for network, cell in by(reached(records), lambda record: record["network"]).items():
        for method in methods_of(cell):
            losses = [100 * (record["top1_float"] - record["top1_int8"]) for record in cell if record["method"] == method]
            lines.append((network, label(method), f"{len(losses)}", f"{np.mean(losses):+.2f}", f"{max(losses):+.2f}"))
    headings = ("network", "method", "networks pruned", "points lost, mean", "most")
    return (
        f"## What int8 costs\n\nPoints that the int8 network is below the float one.\n\n{markdown_table(headings, lines)}" if lines else ""
    )


def layers_section(records: Sequence[Record]) -> str:
    """Return the pictures of layers and saliency."""
    if not any(record["level"] is not None for record in reached(records)):
        return ""
    return (
        "## What is kept where\n\n![What each method keeps of each layer](../results/pruning-blocks.png)\n\n"
        "Share of all saliency that the kept weights have, each method by its own saliency:\n\n"
        "![Saliency kept](../results/pruning-saliency.png)"
    )


def paired(records: Sequence[Record], method: str) -> list[Record]:
    """Return the records of ours and of ``method``, if there is a pair among them that `compare` finds."""
    seen = [{comparison_key(record) for record in records if record["method"] == name} for name in (OURS, method)]
    return [record for record in records if record["method"] in (OURS, method)] if seen[0] & seen[1] else []


def is_method(name: str) -> Callable[[Record], bool]:
    """Return what tells whether a record is of a method."""
    return lambda record: record["method"] == name


def level_of(record: Record) -> tuple[str, float]:
    """Return the level of a record."""
    return record["level"]["kind"], record["level"]["value"]


def level_heading(kind: str, value: float) -> str:
    """Return what a column of a level is called."""
    return {
        LevelKind.SPARSITY.value: f"{value:.0%} sparse",
        LevelKind.CYCLES.value: f"{value:.1%} of the cycles",
        LevelKind.UNIFORM.value: f"cycles of uniform {value:.0%}",
    }[kind]


def label(method: str) -> str:
    """Return what a method is called."""
    return METHODS[method].label if method in METHODS else method


def emphasis(method: str) -> str:
    """Return what a method is called, ours in bold."""
    return f"**{label(method)}**" if method == OURS else label(method)


def interval_text(interval: Interval) -> str:
    """Return a mean with half its interval, where there is one."""
    return f"{interval.mean:.2f}" + (f" ± {interval.half:.2f}" if math.isfinite(interval.half) else "")


def ends_text(interval: Interval) -> str:
    """Return the ends of an interval."""
    return f"{interval.low:+.2f} to {interval.high:+.2f}" if math.isfinite(interval.half) else ""


def mean_percent(values: Iterable[float]) -> str:
    """Return the mean of shares."""
    found = list(values)
    return f"{np.mean(found):.2%}" if found else ""
