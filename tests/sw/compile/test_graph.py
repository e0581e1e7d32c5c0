"""Faults that a pass could make are found by `Graph.verify`, whatever the level."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from tests.sw.compile.foreign import Model

from crisp.compile import CompileError
from crisp.compile.front_end import run_passes
from crisp.compile.graph import Graph, Level, Quantization, Tensor
from crisp.compile.passes import PASSES
from crisp.compile.read_onnx import read_onnx


def model() -> bytes:
    model = Model(["N", 3, 6, 6])
    x = model.quantize(model.node("Relu", model.node("Conv", model.quantize("x"), model.weight(4, 3, 3, 3), model.floats(4))))
    return model.bytes(model.quantize(model.node("Gemm", model.node("Flatten", x), model.weight(64, 2, axis=1))))


@pytest.fixture
def graph() -> Graph:
    graph = read_onnx(model())
    run_passes(graph)
    return graph


def rename(graph: Graph) -> None:
    graph.nodes[1].name = graph.nodes[0].name


def reverse(graph: Graph) -> None:
    graph.nodes.reverse()


def share(graph: Graph) -> None:
    graph.nodes[1].output = graph.nodes[0].output


def add_dead(graph: Graph) -> None:
    graph.add_constant("dead", np.zeros(3, np.int8), Quantization(np.array(1.0), 0))


def misname(graph: Graph) -> None:
    name = graph.nodes[0].inputs[1]
    graph.tensors[name] = dataclasses.replace(graph.tensors[name], name="other")


def reshape(graph: Graph) -> None:
    graph.tensors[graph.nodes[0].output].shape = (1, 4, 4, 5)


def forget_shape(graph: Graph) -> None:
    tensor = graph.tensors[graph.nodes[0].inputs[2]]
    tensor.value = tensor.value[:2]


def forget_quantization(graph: Graph) -> None:
    graph.tensors[graph.nodes[0].output].quantization = None


def make_real(graph: Graph) -> None:
    graph.tensors[graph.nodes[0].output].dtype = np.dtype(np.float32)


def forget_shift(graph: Graph) -> None:
    del graph.nodes[0].attributes["shift"]


def return_to_float(graph: Graph) -> None:
    graph.nodes[1].operation = "Gemm"


def give_input_a_value(graph: Graph) -> None:
    tensor = graph.tensors[graph.input]
    tensor.value = np.zeros(tensor.shape, np.int8)


def lose_output(graph: Graph) -> None:
    graph.output = "nothing"
    graph.tensors["nothing"] = Tensor("nothing", (1,), np.dtype(np.int8))


FAULTS: dict[Callable[[Graph], None], str] = {
    rename: "each node must have its own name, not again 'Conv3'",
    reverse: "Gemm9: input must be computed before its use, not 't5'",
    share: "Gemm9: output must be a tensor of its own, not 't5'",
    add_dead: "dead: a tensor must be used, or be the output; this one is dead",
    misname: "other: a tensor must be listed under its name",
    reshape: "Conv3: output must have shape [1, 4, 4, 4], not [1, 4, 4, 5]",
    forget_shape: "value must be int32 [4], not int32 [2]",
    forget_quantization: "int8 must have a scale and a zero point at level FIXED",
    make_real: "must be int8 or int32 at level FIXED, not float32",
    forget_shift: "Conv3: Conv must have shift at level FIXED",
    return_to_float: "Gemm9: Gemm must not stand in a graph of level FIXED",
    give_input_a_value: "the input must be a tensor without a value, not 'x'",
    lose_output: "the output must be computed, but 'nothing' is not",
}


def test_right_graph(graph: Graph) -> None:
    graph.verify()
    assert graph.level is Level.FIXED
    assert [node.operation for node in graph.nodes] == ["Conv", "Conv"]


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.__name__ for fault in FAULTS])
def test_faults_are_found(graph: Graph, fault: Callable[[Graph], None]) -> None:
    fault(graph)
    with pytest.raises(CompileError) as caught:
        graph.verify()
    assert FAULTS[fault] in str(caught.value)


@pytest.mark.parametrize("number", range(len(PASSES)))
def test_fault_names_the_pass(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that leaves something dead is told by its name."""

    def broken(graph: Graph) -> None:
        PASSES[number](graph)
        graph.tensors["dead"] = Tensor("dead", (1,), np.dtype(np.float32))

    broken.__name__ = PASSES[number].__name__
    monkeypatch.setattr("crisp.compile.front_end.PASSES", (*PASSES[:number], broken, *PASSES[number + 1 :]))
    with pytest.raises(CompileError, match=rf"^after {broken.__name__}: dead: a tensor must be used"):
        run_passes(read_onnx(model()))


def test_each_pass_has_a_file_of_its_name() -> None:
    for run in PASSES:
        assert run.__module__ == f"crisp.compile.passes.{run.__name__}"


def test_levels_rise() -> None:
    graph, levels = read_onnx(model()), [Level.FLOAT]
    for run in PASSES:
        run(graph)
        graph.verify()
        levels.append(graph.level)
    assert levels == sorted(levels)
    assert set(levels) == set(Level)
