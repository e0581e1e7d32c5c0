"""Documents that are generated: from declarations, so they tell what the code does; from results, so they tell what was measured."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crisp.arch import PRESETS, Config, CrispError
from crisp.arch.document import formats_markdown
from crisp.arch.files import write_text
from crisp.arch.register_document import registers_header, registers_markdown
from crisp.bench.network_document import networks_markdown, networks_notes, networks_table
from crisp.bench.pruning_speed_document import pruning_speed_markdown
from crisp.experiment.document import pruning_markdown, pruning_summary
from crisp.experiment.trials_document import trials_markdown
from crisp.report import Comparison, markdown_table
from crisp.report.table import layer_markdown

__all__ = ["DocumentError", "write_documents"]

#: Multipliers of the largest ECP5, LFE5U-85F.
ECP5_MULTIPLIERS = 156


#: Pages of what experiments measured, and the commands that write their records.
PRUNING, SETTINGS = "docs/pruning-results.md", "docs/pruning-settings.md"
EXPERIMENTS = "crisp experiment examples/experiments/fashion.toml --output results"
TRIALS = "crisp experiment examples/experiments/settings.toml --output results/settings"


class DocumentError(CrispError):
    """A document lacks the place for a generated part, or a result is missing."""


def write_documents(root: Path, *, check: bool = False) -> list[Path]:
    """Bring the generated documents up to date.

    Parameters
    ----------
    root : Path
        Root of the source tree.
    check : bool
        Write nothing, only tell.

    Returns
    -------
    list of Path
        Documents that were not up to date.

    Raises
    ------
    DocumentError
        When the README lacks a marker, or a result that it shows is not there.
    """
    wanted = {
        root / "docs/formats.md": formats_markdown(),
        root / "docs/registers.md": registers_markdown(),
        root / PRUNING: pruning_page(root),
        root / SETTINGS: settings_page(root),
        root / "docs/results.md": networks_markdown(load(root, "networks")),
        root / "sim/crisp_sim/crisp_registers.h": registers_header(),
        root / "README.md": readme(root),
    }
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    if not check:
        for path in stale:
            write_text(path, wanted[path])
    return stale


def readme(root: Path) -> str:
    """Return the README with its generated parts made anew."""
    text = (root / "README.md").read_text()
    for name, render in SECTIONS.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        if begin not in text or end not in text:
            raise DocumentError(f"README.md: must hold {begin} and {end}, between which the {name} table goes")
        section = f"{begin}\n{render(root)}\n{end}"
        text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda match: section, text, flags=re.DOTALL)  # noqa: B023
    return text


def load(root: Path, name: str, how: str = "make bench") -> Any:
    """Read a result, which is measured by the command ``how``."""
    path = root / "results" / f"{name}.json"
    if not path.is_file():
        raise DocumentError(f"{path}: must be there for the README; measure it with `{how}`")
    return json.loads(path.read_text())


def demo_section(root: Path) -> str:
    """Return what the demonstration printed."""
    record = load(root, "demo")
    comparison, size = Comparison.from_dict(record), record["config"]
    accuracy = ", ".join(f"{name.replace('_', ' ')} {value:.2%}" for name, value in record["accuracy"].items())
    equal = (
        "Every output byte of the RTL, of the networks and of each layer, equals the golden model's."
        if comparison.bits_equal
        else "RTL and golden model differ."
    )
    return (
        f"`{record['command']}`: {record['network']} on {record['data']} for {', '.join(record['classes'])}, "
        f"{record['sparsity']:.1%} of the pruned layers' weights zero ({record['pattern']}); {record['images']} images, each a run of the "
        f"whole program; {size['rows']}x{size['columns']} array, {size['on_chip_bytes'] // 1024} KiB on chip, memory bus of "
        f"{size['axi_data_width']} bits with a latency of {record['memory']['latency']} cycles. {equal}\n\n"
        f"{layer_markdown(comparison)}\n\n"
        f"Top-1 on {record['test_images']:,} test images of these classes: {accuracy}. "
        f"Pruned for {record['prune_seconds']:.0f} s on one core."
    )


def pruning_page(root: Path) -> str:
    """Return the page of what experiments measured, and of how fast pruning is."""
    return f"{pruning_markdown(load(root, 'pruning', EXPERIMENTS))}\n{pruning_speed_markdown(load(root, 'pruning_speed'))}\n"


def settings_page(root: Path) -> str:
    """Return the page of what single settings of the pruner are worth."""
    return trials_markdown(load(root, "settings/pruning", TRIALS), TRIALS, "../results/settings/pruning-settings.png")


def pruning_section(root: Path) -> str:
    """Return what methods lose at equal cycles."""
    return pruning_summary(load(root, "pruning", EXPERIMENTS))


def networks_section(root: Path) -> str:
    """Return what whole networks take, in short."""
    records = load(root, "networks")
    return f"{networks_table(records)}\n\n{networks_notes(records)}"


def steady_state_section(root: Path) -> str:
    """Return how close the engine comes to one step a cycle."""
    records = load(root, "steady_state")["records"]
    lines = []
    for drain_rows in sorted({record["config"]["drain_rows"] for record in records}):
        for n in dict.fromkeys(record["n"] for record in records):
            chosen = [record for record in records if record["config"]["drain_rows"] == drain_rows and record["n"] == n]
            chosen.sort(key=lambda record: record["absent"])
            cells = [f"{record['utilization']:.2%} ({record['bubbles']})" for record in chosen]
            lines.append((f"{n}:{chosen[0]['group']}", f"{drain_rows}", *cells))
    shares = [f"{share:.0%} absent" for share in sorted({record["absent"] for record in records})]
    return markdown_table(("pattern", "rows drained a cycle", *shares), lines)


def configurations_section(root: Path) -> str:
    """Return the presets with what was measured of each."""
    lines = []
    for name in PRESETS:
        config = Config.preset(name)
        path = root / "results" / f"fpga-{name}.json"
        area = (f"{config.macs} of {ECP5_MULTIPLIERS} multipliers: does not fit", "", "", "", "")
        if path.is_file():
            record = json.loads(path.read_text())
            area = (
                f"{record['lut4']:,}",
                f"{record['ff']:,}",
                f"{record['dsp']}",
                f"{record['bram']}",
                "not routed" if record["fmax_mhz"] is None else f"{record['fmax_mhz']:.0f} MHz",
            )
        size = f"{config.clusters} of " * (config.clusters > 1) + f"{config.rows}x{config.columns}"
        memory = (f"{config.on_chip_bytes / 1024:.0f} KiB", f"{config.axi_data_width}")
        lines.append((f"`{name}`", size, f"{config.group_size}", f"{config.drain_rows}", *memory, *area))
    headings = ("preset", "array", "M", "rows drained", "on chip", "bus bits", "LUT4", "FF", "DSP", "block RAM", "Fmax")
    return markdown_table(headings, lines)


def simulation_section(root: Path) -> str:
    """Return the speed of simulation."""
    record = load(root, "simulation")
    lines = [(run["layer"], f"{run['cycles']:,}", f"{run['cycles_per_second']:,.0f}") for run in record["runs"]]
    return markdown_table(("layer", "cycles", "cycles a second"), lines)


#: Generated parts of the README by name.
SECTIONS: dict[str, Callable[[Path], str]] = {
    "demo": demo_section,
    "pruning": pruning_section,
    "networks": networks_section,
    "steady state": steady_state_section,
    "configurations": configurations_section,
    "simulation": simulation_section,
}
