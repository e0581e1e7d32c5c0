"""What whole networks take: the README's table, and docs/results.md with all of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crisp.report import markdown_table
from crisp.report.chart import network_text, pattern_text

__all__ = ["networks_markdown", "networks_notes", "networks_table"]

Record = Mapping[str, Any]

#: Density at which the speed-ups of single layers are told.
SPARSEST = 0.07

#: Densities that the README shows, besides that of dense networks; where the cycles of pruned networks go is told at the first.
SHOWN = (0.1, 0.08)


def networks_table(records: Iterable[Record]) -> str:
    """Return a line for each network and machine: what it takes, dense and pruned."""
    runs: dict[tuple[str, str], dict[float, Record]] = {}
    for record in records:
        runs.setdefault((network_text(record), record["config"]), {})[record["asked_density"]] = record
    lines = []
    for (network, config), found in runs.items():
        cells: list[str] = []
        for density in (1.0, *SHOWN):
            if density not in found:
                cells += [""] * (2 if density == 1 else 3)
                continue
            record = found[density]
            cells += [f"{record['cycles'] // record['batch']:,}", f"{record['utilization']:.1%}"]
            if density != 1:
                speedup = record["speedup_over_dense"]
                cells.append("" if speedup is None else f"**{speedup:.2f}** of {record['dense_macs'] / record['kept_macs']:.2f}")
        equal = "yes" if all(record["bits_equal"] for record in found.values()) else "NO"
        lines.append((network, f"`{config}`", *cells, equal))
    pruned = [heading for density in SHOWN for heading in (f"at {density:.0%}", "utilization", "speed-up")]
    return markdown_table(("network", "machine", "cycles dense", "utilization", *pruned, "bytes equal"), lines)


def networks_markdown(records: Sequence[Record]) -> str:
    """Return the page of all measurements."""
    parts = [
        "# What whole networks take",
        "Made by `crisp docs` from `results/networks.json`, which `make bench` writes; each record has its command, seed and commit.",
        networks_notes(records),
        every_run(records),
        where_cycles_go(records),
        large_layers(records),
        depthwise_layers(records),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def every_run(records: Sequence[Record]) -> str:
    """Return a line for each run."""
    lines = [
        (
            network_text(record),
            f"`{record['config']}`",
            pattern_text(record),
            f"{record['cycles'] // record['batch']:,}",
            f"{record['predicted_cycles'] / record['cycles'] - 1:+.1%}",
            f"{record['utilization']:.1%}",
            "" if record["speedup_over_dense"] is None else f"{record['speedup_over_dense']:.2f}",
            f"{record['dense_macs'] / record['kept_macs']:.2f}",
            f"{record['dram_bytes'] / record['batch'] / 1e6:,.2f}",
            f"{record['dram_bytes'] / record['compulsory_bytes']:.2f}",
            f"{record['simulation_seconds']:,.0f} s",
            "yes" if record["bits_equal"] else "NO",
        )
        for record in records
    ]
    headings = (
        "network",
        "machine",
        "pattern",
        "cycles an image",
        "predicted",
        "utilization",
        "speed-up",
        "dense / kept MACs",
        "MB an image",
        "of compulsory",
        "simulated in",
        "bytes equal",
    )
    return (
        "*Predicted* is what the compiler expected, less what the RTL took. MB are those of the memory bus. Compulsory are weights as "
        "packed, input and output once, and each tensor larger than the activation buffer once out and once in; layers that are computed "
        f"together need less.\n\n{markdown_table(headings, lines)}"
    )


def networks_notes(records: Sequence[Record]) -> str:
    """Return on what networks ran, and what the columns mean."""
    memory = records[0]["memory"]
    configs = {record["config"]: record for record in records}
    machines = "; ".join(
        f"`{name}` has {record['on_chip_bytes'] // 1024} KiB on chip and a bus of {record['axi_bits']} bits"
        for name, record in configs.items()
    )
    several = " Of programs that compute several images, cycles and bytes are those of one." if any(r["batch"] > 1 for r in records) else ""
    trained = ", ".join(dict.fromkeys(record["network"] for record in records if record["weights"] == "trained"))
    return (
        f"{machines}. Bandwidth of the memory is {memory['bandwidth']:g} word of the bus a cycle, reads and writes together, its latency "
        f"{memory['latency']} cycles. Inputs are real pictures. Trained weights: {trained or 'none'}; all others have their seeded initial "
        f"ones, since cycles depend on the pattern and not on values.{several}"
    )


def where_cycles_go(records: Sequence[Record]) -> str:
    """Return the shares of the cycles of dense and of pruned networks."""
    lines = []
    for record in records:
        if record["asked_density"] not in (1, SHOWN[0]):
            continue
        counters, cycles = record["counters"], record["counters"]["cycles"]
        active, useful = counters["active"] / cycles, record["utilization"]
        causes = [counters[f"idle_{name}"] / cycles for name in ("windows", "memory", "pooling")]
        shares = (useful, active - useful, *causes, 1 - active - sum(causes))
        lines.append((network_text(record), f"`{record['config']}`", pattern_text(record), *(f"{max(0, share):.1%}" for share in shares)))
    headings = ("network", "machine", "pattern", "kept MACs", "empty places", "windows", "memory", "pooling", "rest")
    return (
        "Where the cycles go. Empty places are lanes without a pixel, rows without a channel, and, in depthwise convolutions, operands "
        f"that are not used; the others are cycles without a step, by what it waited for:\n\n{markdown_table(headings, lines)}"
    )


def large_layers(records: Sequence[Record]) -> str:
    """Return the speed-ups of single layers at the least density."""
    lines = [
        (
            network_text(record),
            f"`{record['config']}`",
            f"{record['density']:.1%}",
            f"{spread['layers']}",
            *(f"{spread[name]:.1f}" for name in ("least", "median", "largest")),
        )
        for record in records
        if (spread := record["large_layer_speedups"]) and record["asked_density"] == SPARSEST
    ]
    if not lines:
        return ""
    headings = ("network", "machine", "density", "convolutions", "least", "median", "largest")
    return (
        "Speed-up over dense of single layers, the pruned convolutions with at least 64 channels and 64 inputs; "
        f"[results/layers.json](../results/layers.json) has every layer:\n\n{markdown_table(headings, lines)}"
    )


def depthwise_layers(records: Sequence[Record]) -> str:
    """Return how well depthwise convolutions use the array."""
    shares = [
        f"{record['depthwise_utilization']:.1%} in {network_text(record)} on `{record['config']}`"
        for record in records
        if record["depthwise_utilization"] is not None and record["asked_density"] == 1
    ]
    return f"Depthwise convolutions use this share of the multipliers: {', '.join(shares)}." if shares else ""
