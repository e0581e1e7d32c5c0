"""``crisp prune``: a trained network in, a pruned one for some classes out."""

import dataclasses
import json
import os
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from crisp.arch.files import check_place, state_beside
from crisp.data import Dataset, choose_classes, draw_classes, load_dataset
from crisp.models import ARCHITECTURES, ModelSpec, accuracy, examine_layers, image_shape, open_model
from crisp.models.checkpoint import read_tensors
from crisp.models.user import names_function
from crisp.progress import Report, draw_progress, print_plain
from crisp.report import provenance

from .errors import PruneError
from .loop import prune, stage_steps
from .options import PruneOptions
from .processes import Processes, join_processes, leave_processes
from .pruned import PrunedModel
from .storage import save_pruned
from .trainer import choose_device

__all__ = ["PruneFileOptions", "prune_file", "read_settings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneFileOptions:
    """What to prune.

    Parameters
    ----------
    model : str
        A checkpoint of ours, the name of an architecture, or a user's ``module:function``; see `crisp.models.open_model`.
    output : Path
        Pruned network to write, safetensors.
    classes : sequence of str
        The user's classes, by name or number; none draws them.
    draw : int
        How many to draw by the seed.
    settings : PruneOptions
        How to prune.
    weights : Path, optional
        Weights for an architecture or a function, ``.pth`` or ``.safetensors``.
    arguments : mapping, optional
        Keyword arguments of a user's function.
    width : float
        Factor of an architecture's channels.
    data : str
        Data set; empty looks for Fashion-MNIST in the usual places.
    size, channels : int, optional
        Of a folder of pictures: pixels a side and channels; see `crisp.models.image_shape`.
    state : Path, optional
        File that keeps the state of the run; by default beside ``output``.
    command : str
        What the file says it was made with.
    """

    model: str
    output: Path
    classes: Sequence[str] = ()
    draw: int = 3
    settings: PruneOptions = dataclasses.field(default_factory=PruneOptions)
    weights: Path | None = None
    arguments: Mapping[str, Any] | None = None
    width: float = 1.0
    data: str = ""
    size: int | None = None
    channels: int | None = None
    state: Path | None = None
    command: str = "crisp prune"

    @property
    def state_file(self) -> Path:
        """File that keeps the state of the run."""
        return self.state or state_beside(self.output)


def read_settings(path: Path | None, changes: Mapping[str, Any], words: Sequence[str] = ()) -> PruneOptions:
    """Read settings: those of the table ``prune`` of a TOML file, then ``changes``, then ``words``; later ones count.

    Parameters
    ----------
    path : Path, optional
        File.
    changes : mapping
        Settings by name; what is none is left out.
    words : sequence of str
        ``name=value`` each, the value as TOML has it, quotes around text not needed.

    Raises
    ------
    PruneError
        When the file is absent or no TOML, has something besides the table, or a setting is unknown or wrong.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            document = tomllib.loads(path.read_text())
        except OSError as error:
            raise PruneError(f"{path}: settings must be a file, but it cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise PruneError(f"{path}: settings must be TOML, but are not: {error}") from error
        for name, table in document.items():
            if name != "prune" or not isinstance(table, dict):
                raise PruneError(f"{path}: settings must stand in the table [prune], not in {name!r}; see examples/prune.toml")
            settings |= table
    settings |= {name: value for name, value in changes.items() if value is not None}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise PruneError(f"a setting must be name=value, such as learning_rate=0.02, not {word!r}")
        try:
            settings[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            settings[name.strip()] = text.strip()
    return PruneOptions.from_dict(settings)


def prune_file(options: PruneFileOptions, console: Console, *, dataset: Dataset | None = None) -> PrunedModel:
    """Prune a network and write it.

    Parameters
    ----------
    options : PruneFileOptions
        What to prune, and how.
    console : Console
        Where progress and tables go, in the first process.
    dataset : Dataset, optional
        Images; by default what the options say.

    Raises
    ------
    CrispError
        When network, data, classes or settings are absent, damaged or do not fit each other, or there is no place for what is written.
    """
    torch.set_num_threads(1)
    settings = options.settings
    device = choose_device(settings.device)
    joined = join_processes(device)
    processes = Processes.find(device)
    processes.first(lambda: check_places(options))
    if not processes.is_first:
        console = Console(quiet=True)
        processes.send(None)  # the first one fetches what is not there yet
    data = dataset or load_images(options, console)
    if processes.is_first:
        processes.send(None)
    least = settings.head.least_classes
    classes = choose_classes(options.classes, data, least) if options.classes else draw_classes(data, options.draw, settings.seed, least)
    model, spec = find_network(options, data)
    image = torch.from_numpy(data.test.take(slice(1)).inputs())
    console.print(examine_layers(model, image, settings.keep_dense).table())
    if processes.is_first:
        from crisp.quantize import explain_refusal  # brings ONNX along

        print_plain(console, explain_refusal(model, image), "yellow")
    console.print(f"classes: {', '.join(f'{data.classes[label]} ({label})' for label in classes)}; {settings.head.value} head")

    def write(pruned: PrunedModel) -> None:
        save_pruned(options.output, pruned, spec, provenance(options.command, settings.seed))

    with draw_progress(console) as progress:
        pruned = prune(model, data, classes, settings, whole(progress, settings), state=options.state_file, write=write)
    if processes.is_first:
        tell(pruned, data, options, console)
    if joined:
        leave_processes()
    return pruned


def check_places(options: PruneFileOptions) -> None:
    """Check that output and state can be written, before a long run is done for nothing.

    Raises
    ------
    PruneError
        When one is a folder, its folder cannot be made or written to, or both are one file.
    """
    check_place(options.output, "the output", PruneError)
    check_place(options.state_file, "the state", PruneError)
    if os.path.realpath(options.state_file) == os.path.realpath(options.output):
        raise PruneError(f"{options.state_file}: the state must be another file than the output; name another, or none")


def load_images(options: PruneFileOptions, console: Console) -> Dataset:
    """Return the images that the options say; pictures are made to what a checkpoint's network is for."""
    path = Path(options.model)
    metadata = read_tensors(path)[1] if path.suffix == ".safetensors" and path.is_file() else {}
    size, channels = image_shape(metadata, options.size, options.channels)
    return load_dataset(options.data or None, size=size, channels=channels, tell=console.print)


def find_network(options: PruneFileOptions, data: Dataset) -> tuple[nn.Module, ModelSpec | None]:
    """Return the network and, unless it is a user's own, what it is built from."""
    height, _, channels = data.shape
    model = open_model(
        options.model,
        num_classes=len(data.classes),
        input_size=height,
        in_channels=channels,
        width=options.width,
        weights=options.weights,
        arguments=options.arguments,
    )
    if options.model in ARCHITECTURES:
        return model, ModelSpec(options.model, len(data.classes), height, channels, options.width)
    if is_users(options.model):
        return model, None
    return model, ModelSpec.from_metadata(read_tensors(Path(options.model))[1])


def is_users(model: str) -> bool:
    """Tell whether ``model`` is a function of the user's, which no file says how to find."""
    return names_function(model) and not Path(model).is_file()


def whole(progress: Report, settings: PruneOptions) -> Report:
    """Return progress that also tells how far the whole run has come, and so when it will be done."""
    steps = stage_steps(settings)
    total, before, passed = sum(steps.values()), dict.fromkeys(steps, 0), 0
    for stage, count in steps.items():
        before[stage], passed = passed, passed + count

    def report(stage: str, done: int, count: int, note: str) -> None:
        progress(stage, done, count, note)
        progress("in all", before.get(stage, 0) + done, total, "")

    return report


def tell(pruned: PrunedModel, data: Dataset, options: PruneFileOptions, console: Console) -> None:
    """Print what came out, and what may come next."""
    table = Table(title=f"{pruned.sparsity:.1%} of the pruned layers' weights are zero")
    for heading in ("layer", "matrix", "blocks kept", "N of blocks", "density"):
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for name, pattern in pruned.patterns.items():
        kinds = sorted({int(n) for n in pattern.n[pattern.kept].tolist()})
        blocks = f"{int(pattern.kept.sum())} of {pattern.n.size}"
        table.add_row(name, " x ".join(map(str, pattern.shape)), blocks, ", ".join(map(str, kinds)), f"{pattern.density:.1%}")
    console.print(table)
    test = options.settings.head.select(data.test, pruned.classes)
    before, after = pruned.dense_validation_accuracy, pruned.history[-1].validation_accuracy
    console.print(
        f"validation images named rightly: {before:.2%} before, {after:.2%} after; "
        f"test images {accuracy(pruned.model, test):.2%}. {pruned.seconds:.0f} s"
    )
    print_plain(console, f"{options.output}: next,")
    print_plain(console, "\n".join(f"    {command}" for command in next_commands(options)))


def next_commands(options: PruneFileOptions) -> list[str]:
    """Return the command lines that bring the pruned network onto the machine, the last one with a random image."""
    output, config = options.output, options.settings.config
    ours = output.suffix in (".onnx", ".crisp")  # names that the next files have
    onnx, program = (output.with_name(output.name + suffix) if ours else output.with_suffix(suffix) for suffix in (".onnx", ".crisp"))
    quantize = ["crisp", "quantize", str(output), "-o", str(onnx)]
    if is_users(options.model):
        quantize += ["--model", options.model]
        quantize += ["--arguments", json.dumps(dict(options.arguments))] if options.arguments else []
    shape = {"--data": options.data or None, "--size": options.size, "--channels": options.channels}
    quantize += [word for name, value in shape.items() if value is not None for word in (name, str(value))]
    compile_ = ["crisp", "compile", str(onnx), "-o", str(program), *(["--config", config] if config != "default" else [])]
    return [shlex.join(command) for command in (quantize, compile_, ["crisp", "run", str(program)])]
