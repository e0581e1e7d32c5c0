"""Images with labels: Fashion-MNIST from wherever it can be had, and a few pictures of ImageNet."""

from .dataset import PIXEL_MEAN, PIXEL_SCALE, Dataset, Split, normalize
from .errors import DamagedDataError, DataError, DownloadError, MissingDataError
from .fashion_mnist import load_fashion_mnist
from .mnist_subset import load_mnist_subset
from .pictures import load_pictures, normalize_colours
from .sources import load_dataset

__all__ = [
    "PIXEL_MEAN",
    "PIXEL_SCALE",
    "DamagedDataError",
    "DataError",
    "Dataset",
    "DownloadError",
    "MissingDataError",
    "Split",
    "load_dataset",
    "load_fashion_mnist",
    "load_mnist_subset",
    "load_pictures",
    "normalize",
    "normalize_colours",
]
