import matplotlib as mpl
import pytest
from PIL import Image
from tests.sw.experiment.made import made_records

from crisp.experiment import METHODS, plots
from crisp.experiment.plots import draw_all
from crisp.experiment.style import LOOKS, methods_of, styles

RECORDS = made_records(sizes=(2, 3), sets=2, seeds=2, values=(0.8, 0.9, 0.95))
PICTURES = {"pruning-cycles.png", "pruning-classes.png", "pruning-blocks.png", "pruning-saliency.png"}


@pytest.fixture
def records():
    return RECORDS


@pytest.fixture
def figures(monkeypatch, tmp_path, records):
    """Keep figures instead of closing them, by the names of their files."""
    found = {}
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: found.update({path.name: figure}))
    draw_all(records, tmp_path)
    yield found
    mpl.pyplot.close("all")


def test_pictures_are_written(tmp_path):
    drawn = draw_all(RECORDS, tmp_path)
    assert {path.name for path in drawn} == PICTURES
    assert not list(tmp_path.glob("*.part*"))
    for path in drawn:
        with Image.open(path) as image:
            width, height = image.size
        assert 800 < width < 2000
        assert 300 < height < 2400


def test_by_sparsity(tmp_path):
    records = made_records(networks=("resnet20",), kind="sparsity", sizes=(2,), sets=2, seeds=2, values=(0.5, 0.9))
    assert {path.stem for path in draw_all(records, tmp_path)} == {"pruning-sparsity", "pruning-blocks", "pruning-saliency"}


def test_nothing_to_draw(tmp_path):
    assert draw_all([], tmp_path) == []
    assert draw_all([record for record in RECORDS if record["method"] == "dense"], tmp_path) == []


def test_points_are_the_means_of_their_records(figures):
    figure = figures["pruning-cycles.png"]
    axes = next(axes for axes in figure.axes if axes.get_title() == "resnet20")
    line = next(container for container in axes.containers if container.get_label() == "ours")
    for x, y in zip(*line.lines[0].get_data(), strict=True):
        cell = [
            record
            for record in RECORDS
            if (record["network"], record["method"]) == ("resnet20", "hybrid") and abs(record["cycles_dense"] / record["cycles"] - x) < 0.1
        ]
        assert len(cell) == 8
        assert y == pytest.approx(sum(100 * (record["top1_dense"] - record["top1_float"]) for record in cell) / 8)
    assert axes.yaxis_inverted()


@pytest.mark.parametrize("records", [RECORDS, [record for record in RECORDS if record["network"] == "resnet20"]], ids=["three", "one"])
def test_nothing_overlaps(figures):
    """Legends and titles lie beside each other and within the picture."""
    for name in ("pruning-cycles.png", "pruning-classes.png"):
        figure = figures[name]
        figure.draw_without_rendering()
        boxes = [axes.get_tightbbox() for axes in figure.axes] + [figure.legends[0].get_window_extent()]
        for number, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[number + 1 :])
            assert box.x0 >= 0, name
            assert box.y0 >= 0, name
            assert box.x1 <= figure.bbox.x1, name
            assert box.y1 <= figure.bbox.y1, name


def test_every_method_has_one_look_in_a_fixed_order():
    assert set(METHODS) <= set(LOOKS)
    assert len(set(LOOKS.values())) == len(LOOKS)
    looks = styles(RECORDS)
    assert list(looks) == [name for name in METHODS if name in looks]
    alone = styles(record for record in RECORDS if record["method"] == "crisp")
    assert alone["crisp"] == looks["crisp"]
    variant = [{**RECORDS[-1], "method": "gentle", "base_method": "hybrid"}, *RECORDS]
    assert list(methods_of(variant))[-1] == "gentle"
    assert styles(variant)["gentle"].label == "gentle"
