"""``crisp compile``: an ONNX file in, a program file out, and what it costs."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from crisp.arch import Config, Program
from crisp.golden.network import Network

from .compile import compile_network
from .emit import emit
from .errors import CompileError
from .front_end import run_passes
from .graph import Graph
from .read_onnx import read_onnx

__all__ = ["CompileOptions", "compile_file"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """What to compile, and for what.

    Parameters
    ----------
    model : Path
        ONNX file.
    output : Path
        Program file.
    config : str
        Preset, or TOML or JSON file, of the hardware.
    block : int, optional
        B of the pattern that weights are looked through for; by default what the model's metadata say.
    batch : int
        Images that a run computes.
    """

    model: Path
    output: Path
    config: str = "default"
    block: int | None = None
    batch: int = 1

    @property
    def command(self) -> str:
        """The command line that repeats this."""
        block = "" if self.block is None else f" --block {self.block}"
        batch = "" if self.batch == 1 else f" --batch {self.batch}"
        return f"crisp compile {self.model} --config {self.config}{block}{batch} --output {self.output}"


def compile_file(options: CompileOptions, console: Console) -> Program:
    """Compile a model, write the program, and print a table of its layers.

    Raises
    ------
    CompileError
        When the model cannot be read, has nodes that the machine does not have, or does not fit it, or the batch is none.
    ConfigError
        When the configuration is none.
    """
    config = Config.load(options.config)
    graph = read_onnx(options.model)
    known = read_metadata(graph)
    run_passes(graph)
    network = emit(graph, config, options.block)
    if network.image is None:
        raise CompileError(f"{network.name}: a network must know its images to be compiled")
    program = compile_network(network, config, network.image, batch=options.batch, info={"command": options.command, **known})
    program.save(options.output)
    console.print(layers_table(program, network))
    console.print(
        f"{options.output}: {len(program.command_layers):,} commands, {len(program.constants):,} bytes of constants, "
        f"{program.scratch_bytes:,} bytes of scratch memory"
    )
    return program


def read_metadata(graph: Graph) -> dict[str, Any]:
    """Return what a program says of a model besides its tensors, where that is known: names of its classes, and how pixels are normalised.

    Raises
    ------
    CompileError
        When it says something else in their place.
    """
    rules: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "classes": ("a JSON list of printable names", is_names),
        "normalization": ('JSON such as {"mean": [127], "deviation": [128]}', is_normalization),
    }
    found: dict[str, Any] = {}
    for name, (rule, holds) in rules.items():
        text = graph.metadata.get(f"crisp.{name}")
        if text is None:
            continue
        try:
            found[name] = json.loads(text)
        except (ValueError, RecursionError):
            found[name] = None
        if not holds(found[name]):
            raise CompileError(f"{graph.name}: crisp.{name} in the model's metadata must be {rule}, not {text!r:.80}; quantize it again")
    return found


def is_names(value: Any) -> bool:
    """Tell whether a value is a list of names."""
    return isinstance(value, list) and all(isinstance(name, str) and name.isprintable() for name in value)


def is_normalization(value: Any) -> bool:
    """Tell whether a value is a mean and a deviation above 0 of each channel."""
    if not isinstance(value, dict) or sorted(value) != ["deviation", "mean"] or not all(isinstance(part, list) for part in value.values()):
        return False
    numbers = [number for part in value.values() for number in part]
    sound = all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
    return sound and len(value["mean"]) == len(value["deviation"]) > 0 and min(value["deviation"]) > 0


def layers_table(program: Program, network: Network) -> Table:
    """Return a table of all layers: what they compute, how dense they are, and how long they should take."""
    batch = program.inputs[0].shape[0]
    images = "" if batch == 1 else f", {batch} images"
    table = Table(
        title=f"{program.network} for {program.config.rows}x{program.config.columns}{images}", title_justify="left", box=box.SIMPLE_HEAD
    )
    for heading in ("layer", "operation"):
        table.add_column(heading, no_wrap=True)
    for heading in ("MACs", "density", "predicted cycles"):
        table.add_column(heading, justify="right", no_wrap=True)
    densities = {product.name: f"{product.layer.packed.pattern.density:.1%}" for product in network.products}
    for layer in program.layers:
        table.add_row(layer.name, layer.operation, f"{layer.macs:,}", densities.get(layer.name, ""), f"{layer.predicted_cycles:,}")
    macs, cycles = (sum(getattr(layer, name) for layer in program.layers) for name in ("macs", "predicted_cycles"))
    table.add_section()
    table.add_row("all", "", f"{macs:,}", "", f"{cycles:,}", style="bold")
    return table
