"""What takes the mean of a whole image becomes global average pooling."""

from ..graph import Graph, Node, Tensor

__all__ = ["recognise_pooling"]


def recognise_pooling(graph: Graph) -> None:
    """Turn ReduceMean over both axes of the image, and AveragePool with one window, into GlobalAveragePool."""
    for node in list(graph.nodes):
        if node.operation == "AveragePool":
            window, image = node.attributes["window"], graph.tensors[node.inputs[0]].shape[2:]
            if window.kernel == image and not any(map(any, window.borders)) and window.dilation == (1, 1):
                node.operation = "GlobalAveragePool"
                del node.attributes["window"]
        elif node.operation == "ReduceMean":
            node.operation = "GlobalAveragePool"
            if not node.attributes.pop("keepdims"):
                drop_axes(node, graph)


def drop_axes(node: Node, graph: Graph) -> None:
    """Let a node have an output [N, C, 1, 1], and another one after it drop the last two axes."""
    result = graph.tensors[node.output]
    pooled = graph.free_name(f"{node.output}.pooled")
    graph.tensors[pooled] = Tensor(pooled, (*result.shape, 1, 1), result.dtype, quantization=result.quantization)
    reshape = Node(f"{node.name}.reshape", "Reshape", [pooled], node.output, {"shape": result.shape})
    node.output = pooled
    graph.nodes.insert(graph.nodes.index(node) + 1, reshape)
