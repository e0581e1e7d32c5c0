"""From a quantized model to the network of integers, by way of ONNX as any other tool's models go."""

from collections.abc import Mapping

from crisp.arch import Config, Pattern, check
from crisp.compile import import_onnx
from crisp.golden.convolution import to_matrix
from crisp.golden.network import Network

from .errors import QuantizeError
from .export import export_onnx
from .nodes import QuantizedModel, QuantizedProduct

__all__ = ["to_network"]


def to_network(model: QuantizedModel, config: Config, patterns: Mapping[str, Pattern] | None = None) -> Network:
    """Export a model as ONNX and import that for ``config``.

    Parameters
    ----------
    model : QuantizedModel
        Model in int8.
    config : Config
        Rows and group size of the machine.
    patterns : mapping, optional
        Pattern of each pruned layer, by its name: weights are held against it, and the block of all of them is the one that the import
        looks through weights for. Without patterns all weights are packed as dense.

    Raises
    ------
    QuantizeError
        When a pattern belongs to no layer, or they are of several blocks or groups, or it is not known for which images the model is.
    PatternError
        When weights break their pattern.
    CompileError
        When a scale or a bias is beyond what the machine expresses.
    """
    if not patterns:
        return import_onnx(export_onnx(model), config)
    layers = {node.name: node for node in model.nodes if isinstance(node, QuantizedProduct)}
    sizes = {(pattern.block, pattern.group) for pattern in patterns.values()}
    if len(sizes) > 1:
        raise QuantizeError(f"{model.name}: patterns must have one block and one group, not {', '.join(map(str, sorted(sizes)))}")
    ((block, group),) = sizes
    for name, pattern in patterns.items():
        if name not in layers:
            raise QuantizeError(f"{name}: a pattern must belong to a layer of the model, which are {', '.join(layers)}")
        check(to_matrix(layers[name].weight, group), pattern, layer=name)
    return import_onnx(export_onnx(model, block=block, group=group), config)
