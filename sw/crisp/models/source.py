"""Networks from wherever they come: a name, a user's function, a checkpoint; with the weights of others where they are given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from .checkpoint import load_checkpoint
from .head import ModelError
from .registry import ARCHITECTURES
from .spec import ModelSpec
from .user import make_model, names_function
from .weights import load_model, load_weights

__all__ = ["open_model"]


def open_model(
    what: str | Path,
    *,
    num_classes: int = 1000,
    input_size: int = 224,
    in_channels: int | None = None,
    width: float = 1.0,
    weights: Path | None = None,
    arguments: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> nn.Module:
    """Return a network, in evaluation mode.

    Parameters
    ----------
    what : str or Path
        A checkpoint of ours, one of `ARCHITECTURES`, or a user's ``module:function``.
    num_classes, input_size, in_channels, width : optional
        What an architecture is built for, as `ModelSpec` has them; weights say the number of classes themselves.
    weights : Path, optional
        ``.pth`` or ``.safetensors`` file for an architecture or a user's network.
    arguments : mapping, optional
        Keyword arguments of a user's function.
    seed : int
        Source of an architecture's initial weights.

    Raises
    ------
    ModelError
        When there is no such network.
    CheckpointError
        When a file is absent or damaged, or its tensors do not fit.
    """
    text = str(what)
    if text in ARCHITECTURES:
        spec = ModelSpec(text, num_classes, input_size, in_channels, width)
        return load_model(weights, spec) if weights else spec.build(seed)
    if names_function(text) and not Path(what).is_file():
        model = make_model(text, arguments)
        if weights:
            load_weights(weights, model, "name the function and arguments that make the network it was trained for")
        return model.eval()
    if not Path(what).is_file():
        names = ", ".join(ARCHITECTURES)
        raise ModelError(f"model must be a checkpoint, module:function, or one of {names}, not {text!r}; there is no such file")
    if weights:
        raise ModelError(
            f"weights must be for an architecture or a function, not for the checkpoint {text}, which has its own; leave them out"
        )
    return load_checkpoint(Path(what))[0]
