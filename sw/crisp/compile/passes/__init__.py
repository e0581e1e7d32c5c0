"""The passes of the compiler's front end, in order. Each is one function in a file of its name, and leaves a graph that verifies."""

from collections.abc import Callable

from ..graph import Graph
from .convert_linear import convert_linear
from .expand_groups import expand_groups
from .fix_scales import fix_scales
from .fold_batch_norm import fold_batch_norm
from .fold_constants import fold_constants
from .fold_zero_points import fold_zero_points
from .fuse_activations import fuse_activations
from .fuse_quantization import fuse_quantization
from .hoist_quantization import hoist_quantization
from .merge_bias import merge_bias
from .merge_clamps import merge_clamps
from .recognise_functions import recognise_functions
from .recognise_pooling import recognise_pooling

__all__ = ["PASSES", "Pass"]

Pass = Callable[[Graph], None]

PASSES: tuple[Pass, ...] = (
    fold_constants,
    fold_batch_norm,
    merge_bias,
    recognise_functions,
    fuse_activations,
    hoist_quantization,
    fuse_quantization,
    merge_clamps,
    recognise_pooling,
    convert_linear,
    expand_groups,
    fold_zero_points,
    fix_scales,
)
