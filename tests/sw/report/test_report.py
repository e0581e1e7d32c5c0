import dataclasses
import io
import json
import re

import pytest
from rich.console import Console

from crisp.arch import COUNTERS
from crisp.report import Comparison, LayerRecord, accuracy_table, draw_layers, layer_table, markdown_table, provenance, write_json
from crisp.report.table import layer_markdown


def record(name: str, dense: int, sparse: int, density: float, *, bits_equal: bool = True) -> LayerRecord:
    counters = dict.fromkeys((field.name for field in COUNTERS.fields), 0)
    return LayerRecord(
        name=name,
        operation="product 3x3",
        outputs=16,
        inputs=144,
        pixels=100,
        blocks=9,
        blocks_kept=2,
        macs=16 * 144 * 100,
        kept_macs=round(16 * 144 * 100 * density),
        cycles_dense=dense,
        cycles_sparse=sparse,
        counters_dense={**counters, "total": dense},
        counters_sparse={**counters, "total": sparse},
        bits_equal=bits_equal,
    )


@pytest.fixture
def comparison() -> Comparison:
    layers = (record("conv1", 900, 900, 1.0), record("conv2", 1000, 250, 0.2))
    return Comparison(layers=layers, array_macs=256, counters_dense={"cycles": 2000}, counters_sparse={"cycles": 1250}, outputs_equal=True)


def test_figures_follow_from_cycles(comparison: Comparison) -> None:
    macs = 16 * 144 * 100
    assert [layer.speedup for layer in comparison.layers] == [1, 4]
    assert comparison.speedup == 2000 / 1250
    assert comparison.density == pytest.approx(0.6)
    assert comparison.utilization == pytest.approx(1.2 * macs / (256 * 1250))
    assert comparison.utilization_dense == pytest.approx(2 * macs / (256 * 2000))
    assert comparison.layers[1].utilization(256) == pytest.approx(0.2 * macs / (256 * 250))


def test_layers_without_weights_have_neither_density_nor_utilization(comparison: Comparison) -> None:
    pool = dataclasses.replace(record("pool", 100, 100, 1.0), macs=0, kept_macs=0, blocks=0, blocks_kept=0)
    assert pool.density == 1
    assert "| pool | 16 x 144 x 100 |  |  | 100 | 100 | 1.00 |  |  | yes |" in layer_markdown(
        dataclasses.replace(comparison, layers=(*comparison.layers, pool))
    )


def test_one_wrong_bit_is_told(comparison: Comparison) -> None:
    broken = dataclasses.replace(comparison, layers=(*comparison.layers, record("conv3", 1, 1, 1.0, bits_equal=False)))
    assert comparison.bits_equal
    assert not broken.bits_equal
    assert "| conv3 | 16 x 144 x 100 | 100.0% | 2 of 9 | 1 | 1 | 1.00 | 1.00 |" in layer_markdown(broken)
    assert layer_markdown(broken).count("NO") == 2  # the layer, and the network
    output = dataclasses.replace(comparison, outputs_equal=False)
    assert not output.bits_equal
    assert layer_markdown(output).count("NO") == 1


def test_json_keeps_everything(comparison: Comparison) -> None:
    values = json.loads(json.dumps(comparison.to_dict()))
    assert Comparison.from_dict(values) == comparison
    assert values["layers"][1]["inverse_density"] == 5
    assert values["layers"][1]["shape"] == [16, 144, 100]


def test_terminal_table(comparison: Comparison) -> None:
    console = Console(file=io.StringIO(), width=140)
    console.print(layer_table(comparison, "title"), accuracy_table({"dense_int8": 0.975}, 3000))
    text = console.file.getvalue()
    assert re.search(r"conv2 .* 16 x 144 x 100 .* 20\.0% .* 2 of 9 .* 1,000 .* 250 .* 4\.00 .* 5\.00 .* yes", text)
    assert "whole network" in text
    assert re.search(r"dense int8 .* 97\.50%", text)


def test_markdown_table() -> None:
    assert markdown_table(("a", "b", "c"), [("1", "2", "3")]) == "| a | b | c |\n| --- | --- | ---: |\n| 1 | 2 | 3 |"


def test_chart_is_a_picture(comparison: Comparison, tmp_path) -> None:
    path = tmp_path / "new" / "chart.png"
    draw_layers(comparison, "title", path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in path.parent.iterdir()] == ["chart.png"]


def test_provenance_names_command_seed_and_commit() -> None:
    values = provenance("crisp demo", 3)
    assert values["command"] == "crisp demo"
    assert values["seed"] == 3
    assert re.fullmatch(r"unknown|[0-9a-f]{12,40}(-dirty)?", values["commit"])


def test_json_is_whole_or_not_there(tmp_path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
