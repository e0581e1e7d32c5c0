import pytest
from matplotlib import image
from tests.sw.experiment.made import made_records, record

from crisp.experiment.plots import draw_all
from crisp.experiment.records import collect
from crisp.experiment.trials import find_trials
from crisp.experiment.trials_document import trials_markdown
from crisp.experiment.trials_plot import draw_trials

SETS = (("coat", "shirt"), ("bag", "coat", "shirt"))
LEVEL = {"kind": "sparsity", "value": 0.9}
#: Variant: points that it is ahead, for each class set, and settings that it changes.
VARIANTS = {
    "long": (0.5, 0.7, {"final_images": 65536}),
    "one-n": (-1.0, -2.0, {"n": 2, "per_block": False}),
    "slow": (0.0, 0.1, {"learning_rate": 0.01}),
}
DEFAULTS = {"n": 4, "per_block": True, "learning_rate": 0.05, "final_images": 28672, "sparsity": 0.9, "cycles": None}


def made(variants=VARIANTS, seeds=(1, 2, 3)):
    found = []
    for number, classes in enumerate(SETS):
        for seed in seeds:
            cell = {"network": "resnet20", "classes": list(classes), "class_set": f"hard-{number + 1}", "seed": seed}
            top1 = 0.9 + 0.002 * seed
            found.append(
                {**record(**cell, method="dense", level=None, top1=top1 + 0.02, sparsity=0.0, speedup=1.0), "base_method": "dense"}
            )
            runs = {"hybrid": (0.0, 0.0, {})} | variants
            for method, (*points, changes) in runs.items():
                wobble = 0.0 if method == "hybrid" else 0.0003 * (seed - 2)
                run = record(**cell, method=method, level=LEVEL, top1=top1 + points[number] / 100 + wobble, sparsity=0.9, speedup=8.0)
                found.append({**run, "base_method": "hybrid", "options": {**DEFAULTS, **changes, "seed": seed}})
    return collect(found)


def test_variants_are_compared_with_the_defaults():
    long, slow, one = find_trials(made())
    assert [trial.name for trial in (long, slow, one)] == ["long", "slow", "one-n"]  # the best first
    assert long.gain.seeds.mean == pytest.approx(0.6)
    assert long.gain.pairs == 6
    assert [comparison.seeds.mean for comparison in one.by_classes.values()] == pytest.approx([-2.0, -1.0])
    assert one.text == "n = 2, per_block = false"
    assert (long.speedup, long.sparsity) == (pytest.approx(8.0), 0.9)


def test_runs_without_a_pair_do_not_count():
    records = made()
    without = [record for record in records if not (record["method"] == "hybrid" and record["seed"] == 1)]
    assert {trial.gain.pairs for trial in find_trials(without)} == {4}
    assert find_trials([record for record in records if record["method"] != "hybrid"]) == []
    foreign = [{**record, "network": "vgg16"} for record in records if record["method"] == "long"]
    assert [trial.name for trial in find_trials([*records, *foreign])] == ["long", "slow", "one-n"]


def test_methods_of_the_library_are_no_variants():
    records = [{**record, "method": "hybrid-random" if record["method"] == "slow" else record["method"]} for record in made()]
    assert [trial.name for trial in find_trials(records)] == ["long", "one-n"]


def test_page_has_a_line_for_each_variant():
    text = trials_markdown(made(), "crisp experiment trials.toml", "../trials.png")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert "| long | `final_images = 65536` | **+0.60** | +0.57 to +0.63 | +0.70 | +0.50 | x8.00 | 90.0% |" in lines
    assert "| slow | `learning_rate = 0.01` | **+0.05** |" in text
    assert "| coat, shirt | 92.40% | 2.00 ± 0.00 |" in lines
    assert "90% sparse" in text
    assert "crisp experiment trials.toml" in text


def test_difference_that_may_be_none_is_not_bold():
    text = trials_markdown(made({"slow": (0.01, 0.01, {"learning_rate": 0.01})}), "", "")
    assert "| slow | `learning_rate = 0.01` | +0.01 | -0.02 to +0.04 |" in text


def test_variants_have_a_picture_of_their_own(tmp_path):
    assert draw_all(made(), tmp_path / "alone") == [tmp_path / "alone/pruning-settings.png"]
    beside = made_records(networks=("resnet20",), sizes=(2,), values=(0.8, 0.9), kind="sparsity")
    drawn = draw_all([*made(), *(record for record in beside if record["method"] == "crisp")], tmp_path / "beside")
    assert {"pruning-settings.png", "pruning-sparsity.png"} <= {path.name for path in drawn}


def test_picture_has_a_row_for_each_variant(tmp_path):
    assert draw_trials(find_trials(made()), tmp_path / "three.png")
    more = VARIANTS | {f"rate-{rate}": (0.1 * rate, 0.0, {"learning_rate": rate / 10}) for rate in range(1, 9)}
    assert draw_trials(find_trials(made(more)), tmp_path / "eleven.png")
    heights = [image.imread(tmp_path / name).shape[0] for name in ("three.png", "eleven.png")]
    assert heights[1] > 1.5 * heights[0]
    assert not draw_trials(find_trials(made({"slow": VARIANTS["slow"]})), tmp_path / "one.png")
    assert not (tmp_path / "one.png").exists()
    assert draw_trials(find_trials(made(seeds=(1,))), tmp_path / "one-seed.png")
