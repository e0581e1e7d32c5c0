"""``crisp quantize``: a trained or pruned checkpoint in, an ONNX file out."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from crisp.data import Dataset, load_dataset
from crisp.models import load_checkpoint
from crisp.models.checkpoint import read_tensors
from crisp.progress import draw_progress
from crisp.prune.storage import load_pruned

from .errors import QuantizeError
from .export import export_onnx
from .quantize import QuantizeOptions, quantize

__all__ = ["QuantizeFileOptions", "quantize_file"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizeFileOptions:
    """What to quantize.

    Parameters
    ----------
    checkpoint : Path
        Network, trained or pruned.
    output : Path
        ONNX file.
    images : int
        Training images of the network's classes that it is calibrated with.
    data : str
        Folder with the data; empty looks in the usual places.
    seed : int
        Chooses the images.
    """

    checkpoint: Path
    output: Path
    images: int = 512
    data: str = ""
    seed: int = 1

    def __post_init__(self) -> None:
        if self.images < 1:
            raise QuantizeError(f"images must be at least 1, not {self.images}")


def quantize_file(options: QuantizeFileOptions, console: Console, *, dataset: Dataset | None = None) -> None:
    """Quantize a checkpoint and write it as ONNX; of a pruned one the file says the block and the group.

    Parameters
    ----------
    options : QuantizeFileOptions
        What to quantize.
    console : Console
        Where progress and the summary go.
    dataset : Dataset, optional
        Images; default is what ``options.data`` says.

    Raises
    ------
    CheckpointError
        When the checkpoint is damaged, or of no known network.
    DataError
        When there are no images.
    """
    torch.set_num_threads(1)
    _, metadata = read_tensors(options.checkpoint)
    block = group = None
    dataset = dataset or load_dataset(options.data or None, tell=console.print)
    training = dataset.training_and_validation()[0]
    if "history" in metadata:  # only pruned networks have one
        pruned = load_pruned(options.checkpoint)
        model, block, group = pruned.model, pruned.options.block, pruned.options.group
        training = training.select(pruned.classes)
    else:
        model, _ = load_checkpoint(options.checkpoint)
    chosen = training.take(np.random.default_rng(options.seed).permutation(len(training))[: options.images]).inputs()
    with draw_progress(console) as progress:
        quantized = quantize(model, chosen, QuantizeOptions(), name=options.checkpoint.stem, progress=progress)
    data = export_onnx(quantized, block=block, group=group)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = options.output.with_name(f".{options.output.name}.part")
    temporary.write_bytes(data)
    temporary.replace(options.output)
    pattern = "dense" if block is None else f"pruned in blocks of {block}, M = {group}"
    console.print(f"{options.output}: {len(quantized.nodes)} operations, {len(data):,} bytes, {pattern}")
