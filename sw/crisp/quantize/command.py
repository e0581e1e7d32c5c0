"""``crisp quantize``: a trained or pruned checkpoint in, an ONNX file out."""

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.console import Console
from torch import nn

from crisp.arch import Config, Pattern
from crisp.arch.files import check_place, replacing
from crisp.data import Dataset, Images, load_dataset
from crisp.models import image_shape, logits
from crisp.progress import Report, draw_progress, print_plain

from .aware import AwareOptions, RangeTraining, finetune_quantized
from .errors import QuantizeError
from .export import export_onnx
from .judge import answers
from .network import to_network
from .nodes import QuantizedModel
from .opened import open_checkpoint
from .quantize import QuantizeOptions, quantize

__all__ = ["QuantizeFileOptions", "aware_options", "choose", "quantize_file"]

Choice = TypeVar("Choice", bound=enum.Enum)


def choose(kind: type[Choice], name: str, value: str) -> Choice:
    """Return the choice of ``kind`` whose value is ``value``; ``name`` is that of the option.

    Raises
    ------
    QuantizeError
        When there is none.
    """
    try:
        return kind(value)
    except ValueError:
        raise QuantizeError(f"{name} must be one of {', '.join(str(choice.value) for choice in kind)}, not {value!r}") from None


def aware_options(images: int, ranges: str, learning_rate: float, seed: int) -> AwareOptions | None:
    """Return settings of training for int8 on about ``images`` images; none for 0.

    Raises
    ------
    QuantizeError
        When a setting breaks a rule.
    """
    if images < 0:
        raise QuantizeError(f"aware must not be negative, not {images}")
    chosen = choose(RangeTraining, "aware-ranges", ranges)
    options = AwareOptions(ranges=chosen, learning_rate=learning_rate, seed=seed)
    return dataclasses.replace(options, steps=-(-images // options.batch)) if images else None


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
    quantization : QuantizeOptions
        How.
    aware : AwareOptions, optional
        How it is trained for int8 before, in smaller batches where images are few; none leaves it as it is.
    judge : int
        Test images of the network's classes that it is judged by, before and after; 0 does not judge.
    data : str
        Data set; empty looks in the usual places.
    size, channels : int, optional
        Of a folder of pictures: pixels a side and channels; see `crisp.models.image_shape`.
    seed : int
        Chooses the images.
    model : str
        A user's ``module:function`` that makes the network whose weights the checkpoint has; empty where the checkpoint says what it is of.
    arguments : mapping, optional
        Keyword arguments of that function.
    """

    checkpoint: Path
    output: Path
    images: int = 512
    quantization: QuantizeOptions = dataclasses.field(default_factory=QuantizeOptions)
    aware: AwareOptions | None = None
    judge: int = 0
    data: str = ""
    size: int | None = None
    channels: int | None = None
    seed: int = 1
    model: str = ""
    arguments: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.images < 1:
            raise QuantizeError(f"images must be at least 1, not {self.images}")
        if self.judge < 0:
            raise QuantizeError(f"judge must not be negative, not {self.judge}")


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
        When the checkpoint is damaged, or of no known network and no function is named.
    ModelError
        When the function does not make a network.
    DataError
        When there are no images.
    QuantizeError
        When the output cannot be written, the images are not for this network, or it cannot be quantized.
    """
    torch.set_num_threads(1)
    check_place(options.output, "the output", QuantizeError)
    opened = open_checkpoint(options.checkpoint, options.model, options.arguments)  # before any data is fetched
    if dataset is None and not options.data:
        opened.check_default()
    size, channels = image_shape(opened.metadata, options.size, options.channels)
    dataset = dataset or load_dataset(options.data or None, size=size, channels=channels, tell=console.print)
    classes = opened.check_data(dataset, labelled=options.judge > 0 or options.aware is not None or not options.data)
    model, pruned = opened.model, opened.pruned
    training, test = dataset.training_and_validation()[0], dataset.test
    block = group = None
    patterns: Mapping[str, Pattern] = {}
    if pruned is not None:
        patterns, block, group = pruned.patterns, pruned.options.block, pruned.options.group
        training, test = (pruned.options.head.select(images, pruned.classes) for images in (training, test))
    order = np.random.default_rng(options.seed).permutation(len(training))
    calibration = training.take(order[: options.images]).inputs()
    with draw_progress(console) as progress:
        quantized = make_int8(model, training, calibration, patterns, options, progress)
        verdict = tell(model, quantized, test.take(some(len(test), options)), progress) if options.judge else ""
    data = export_onnx(quantized, block=block, group=group, classes=classes, normalization=dataset.normalization)
    with replacing(options.output, QuantizeError) as temporary:
        temporary.write_bytes(data)
    pattern = "dense" if block is None else f"pruned in blocks of {block}, M = {group}"
    told = (
        f"{len(quantized.nodes)} operations, {len(data):,} bytes, {pattern}; calibrated with {len(calibration):,} images of {dataset.name}"
    )
    print_plain(console, f"{options.output}: {told}")
    if verdict:
        console.print(verdict)


def make_int8(
    model: nn.Module,
    training: Images,
    calibration: np.ndarray,
    patterns: Mapping[str, Pattern],
    options: QuantizeFileOptions,
    progress: Report,
) -> QuantizedModel:
    """Quantize a model, trained for it where that is asked for."""
    ranges = None
    if options.aware is not None:
        aware = options.aware.fit(len(training))
        result = finetune_quantized(model, training, aware, quantization=options.quantization, patterns=patterns, progress=progress)
        model, ranges = result.model, result.ranges
    return quantize(model, calibration, options.quantization, ranges=ranges, name=options.checkpoint.stem, progress=progress)


def some(count: int, options: QuantizeFileOptions) -> np.ndarray:
    """Return which of ``count`` test images judge: all of them in order, or as many as asked for, drawn by the seed."""
    if options.judge >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(options.seed).permutation(count)[: options.judge])


def tell(model: nn.Module, quantized: QuantizedModel, test: Images, progress: Report) -> str:
    """Return how many test images the float model and the int8 model name rightly."""
    before, after = logits(model, test).argmax(axis=1), answers(to_network(quantized, Config()), test, progress)
    return (
        f"of {len(test):,} test images the float model names {np.mean(before == test.labels):.2%} rightly, "
        f"int8 {np.mean(after == test.labels):.2%}; {np.mean(before == after):.2%} have the same answer"
    )
