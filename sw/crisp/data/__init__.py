"""Images with labels: by name, from archives, folders or arrays, all behind one interface."""

from .arrays import load_arrays
from .cifar import load_cifar
from .classes import choose_classes, draw_classes
from .dataset import Dataset, Split
from .errors import DamagedDataError, DataError, DownloadError, MissingDataError
from .fashion_mnist import load_fashion_mnist
from .folder import load_folder
from .images import Images
from .mnist_subset import load_mnist_subset
from .normalization import PIXEL_MEAN, PIXEL_SCALE, Normalization, normalize
from .picture_files import PictureFiles
from .pictures import load_pictures, normalize_colours
from .sources import load_dataset

__all__ = [
    "PIXEL_MEAN",
    "PIXEL_SCALE",
    "DamagedDataError",
    "DataError",
    "Dataset",
    "DownloadError",
    "Images",
    "MissingDataError",
    "Normalization",
    "PictureFiles",
    "Split",
    "choose_classes",
    "draw_classes",
    "load_arrays",
    "load_cifar",
    "load_dataset",
    "load_fashion_mnist",
    "load_folder",
    "load_mnist_subset",
    "load_pictures",
    "normalize",
    "normalize_colours",
]
