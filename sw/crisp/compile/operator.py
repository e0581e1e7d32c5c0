"""What the machine does in one pass over an image: the scheduler's view of a layer."""

import dataclasses
import enum
from functools import cached_property

import numpy as np

from crisp.arch import ProductLayer
from crisp.golden import Add, Window

__all__ = ["FARTHEST", "Kind", "Operator", "Patches", "Tensor"]

#: Columns that a word RUN can tell.
FARTHEST = 127


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Activations of one image, or of several side by side.

    Parameters
    ----------
    name : str
        Name, that of the operator which computes it.
    height, width, channels : int
        Size; columns of all images together.
    images : int
        Images: of the k-th, column x is column ``x * images + k``.
    """

    name: str
    height: int
    width: int
    channels: int
    images: int = dataclasses.field(default=1, repr=False)

    @property
    def pixels(self) -> int:
        """Pixels of a plane."""
        return self.height * self.width

    def planes(self, group: int) -> int:
        """Planes of ``group`` channels."""
        return -(-self.channels // group)


@dataclasses.dataclass(frozen=True)
class Patches:
    """How the rows of an image with few channels are cut into overlapping patches while they are loaded.

    Parameters
    ----------
    step : int
        Bytes from one patch to the next.
    words : int
        Words of a patch.
    lead : int
        Bytes of the first patch that lie before the row.
    """

    step: int
    words: int
    lead: int


class Kind(enum.Enum):
    """How an operator uses the array."""

    PRODUCT = enum.auto()  #: Convolution or linear layer: all row tiles share a window.
    DEPTHWISE = enum.auto()  #: A plane a row tile; its rows are the plane's channels, for several output rows one below the other.
    PLANES = enum.auto()  #: Global average: planes take the place of pixels, and pixels that of channels.
    MAX = enum.auto()  #: Maximum of each window, plane by plane; of one word, a copy.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operator:
    """A pass over an image.

    Parameters
    ----------
    name : str
        Name of the node whose result this computes, and of a batch for which image.
    kind : Kind
        How the array is used.
    source : Tensor
        What the windows are gathered from.
    output : Tensor
        Result.
    window : Window
        Which pixels a result sees.
    taps : tuple
        Row and column of each tap of a window, from its first; in the order of K.
    pad : int
        Value outside the image.
    row_step : int
        Output rows that are computed together.
    layer : ProductLayer, optional
        Weights; none for `Kind.MAX`.
    residual : str, optional
        Name of the tensor that is added.
    addition : Add, optional
        Scales of the addition; its second input is the residual.
    table : numpy.ndarray, optional
        int8 [256]: what -128, -127, ... become in the end.
    patches : Patches, optional
        Where the source is made of patches of an image, how.
    macs : int
        Products of the layer if it were dense, without padding.
    kept_macs : int
        Those of them that the pattern keeps.
    image : int, optional
        Which of the output's images this computes, from a source of that image alone; none where it computes all of them. A copy, or
        `Kind.PLANES`.
    onto : str, optional
        Name of the tensor that has the images before that one: the output lies in its place.
    title : str
        Name in reports, one for all images; empty where it is the operator's.
    """

    name: str
    kind: Kind
    source: Tensor
    output: Tensor
    window: Window
    taps: tuple[tuple[int, int], ...]
    pad: int
    row_step: int = 1
    layer: ProductLayer | None = None
    residual: str | None = None
    addition: Add | None = None
    table: np.ndarray | None = None
    patches: Patches | None = None
    macs: int = 0
    kept_macs: int = 0
    image: int | None = None
    onto: str | None = None
    title: str = ""

    @property
    def report_name(self) -> str:
        """Name in reports, one for all images."""
        return self.title or self.name

    @property
    def beside(self) -> str | None:
        """Name of the tensor whose words are needed where those of the result are written: what is added, or written onto."""
        return self.residual if self.onto is None else self.onto

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that this reads, or writes onto."""
        return (self.source.name,) if self.beside is None else (self.source.name, self.beside)

    @property
    def is_inside(self) -> bool:
        """Whether no window reaches beyond the image, so that taps may be further away than rows and columns of a word RUN can tell."""
        no_border = self.window.borders == ((0, 0), (0, 0)) and self.row_step == 1
        return no_border and max(column for _, column in self.taps) > FARTHEST

    @cached_property
    def column(self) -> tuple[int, int, int]:
        """Rows from a window to the next, rows above the image, and rows that a window spans."""
        return self.window.stride[0], self.window.padding[0], self.window.extent[0]

    def last_row(self, end: int) -> int:
        """Return how many rows of the source are needed for the first ``end`` rows of the output."""
        if end <= 0:
            return 0
        if self.kind is Kind.PLANES:
            return self.source.height
        stride, padding, extent = self.column
        bottom = (min(end, self.output.height) - 1) * stride - padding + extent
        return min(self.source.height, max(0, bottom))

    def first_row(self, start: int) -> int:
        """Return the first row of the source that output rows from ``start`` on need."""
        if self.kind is Kind.PLANES:
            return 0
        stride, padding, _ = self.column
        return min(self.source.height, max(0, start * stride - padding))

    def first_needed(self, name: str, start: int) -> int:
        """Return the first row of ``name``, which this reads, that output rows from ``start`` on need."""
        rows = [self.first_row(start)] if self.source.name == name else []
        return min([*rows, start] if self.beside == name else rows)

    @cached_property
    def last_rows(self) -> np.ndarray:
        """`last_row` of 0, 1, ... up to all rows of the output."""
        return np.array([self.last_row(end) for end in range(self.output.height + 1)])

    def first_needed_rows(self, name: str, starts: np.ndarray) -> np.ndarray:
        """Return `first_needed` of several rows."""
        if self.source.name != name:
            return starts
        if self.kind is Kind.PLANES:
            return np.zeros_like(starts)
        stride, padding, _ = self.column
        rows = np.clip(starts * stride - padding, 0, self.source.height)
        return np.minimum(rows, starts) if self.beside == name else rows

    @property
    def is_copy(self) -> bool:
        """Whether each word of the result comes from one word of the source."""
        return self.kind is Kind.MAX and self.window == Window()
