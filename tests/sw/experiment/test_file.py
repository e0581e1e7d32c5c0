from pathlib import Path

import pytest
from tests.sw.experiment.small import PATH, small, table

from crisp.experiment import METHODS, ExperimentError, load_experiment
from crisp.experiment.file import read_experiment
from crisp.experiment.levels import Level, LevelKind
from crisp.prune import Order, PruneOptions, Ranking, Saliency

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "examples/experiments").glob("*.toml"))


def test_what_it_says_is_what_it_is():
    experiment = small()
    assert experiment.networks["net"].width == 0.25
    assert experiment.grids[0].levels == (Level(LevelKind.SPARSITY, 0.6), Level(LevelKind.SPARSITY, 0.8))
    assert experiment.classes["drawn"].seeds == (1, 2)
    assert experiment.methods["mine"].method is METHODS["hybrid"]


def test_later_settings_count():
    experiment = small("networks.net.options", {"learning_rate": 0.3, "batch": 8})
    mine = experiment.prune_options("net", "mine", (1, 4), 32, seed=7)
    assert (mine.learning_rate, mine.batch, mine.floor, mine.n, mine.block, mine.seed) == (0.02, 8, 0.0, 1, 32, 7)
    paper = experiment.prune_options("net", "crisp", None, None, seed=1)
    assert (paper.saliency, paper.ranking, paper.floor, paper.learning_rate) == (Saliency.TAYLOR, Ranking.RAW, 0.0, 0.3)
    dense = experiment.prune_options("net", "dense", (1, 4), 32, seed=1)
    assert (dense.n, dense.sparsity, dense.block) == (4, 0.0, PruneOptions().block)


def test_levels_become_goals():
    options = PruneOptions()
    assert Level(LevelKind.SPARSITY, 0.8).apply(options).sparsity == 0.8
    by_cycles = Level(LevelKind.CYCLES, 0.2).apply(options)
    assert (by_cycles.sparsity, by_cycles.cycles) == (0.0, 0.2)
    assert Level(LevelKind.UNIFORM, 0.9).apply(options, 0.13).cycles == 0.13


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("colour", "red", r"colour must be one of name, config, .*, but is none; leave it out"),
        ("splitt", "test", r"splitt must be one of .*, but is none; did you mean split\?"),
        ("name", None, r"small.toml must have name, letters, digits, - and _"),
        ("name", "../a", r"name must be letters, digits, - and _, not '../a'"),
        ("split", "train", "split must be one of validation, test, not 'train'"),
        ("config", "huge", "preset must be one of|configuration 'huge' is neither a preset"),
        ("options.learning_rat", 0.1, r"options: learning_rat must be a setting of pruning, but is none; did you mean learning_rate\?"),
        ("options.sparsity", 0.5, "options: sparsity must not be among the options, since the grid or the experiment decides it"),
        ("options.floor", 2.0, "options: floor must be from 0 to 1, not 2.0"),
        ("data.train_image", 10, r"data: train_image must be one of .*; did you mean train_images\?"),
        ("networks.net.architecture", "resnet21", "networks.net: architecture must be one of resnet20, .*, not 'resnet21'"),
        ("networks.net.epochs", 0, "networks.net: epochs must be at least 1, not 0"),
        ("networks.net.width", "wide", "networks.net: width must be above 0, not 'wide'"),
        ("networks.net", 3, "networks.net must be a table, not 3"),
        ("classes.two", {}, "classes.two must have either sets, or count and seeds"),
        ("classes.two", {"count": 2}, "classes.two must have either sets, or count and seeds"),
        ("classes.two", {"sets": [[1.5, 2]]}, "sets must have names or numbers of classes, not"),
        ("methods.mine.base", "hybrit", r"method must be one of dense, .*, not 'hybrit'; did you mean hybrid\?"),
        ("methods.mine.networks.other", {}, "methods.mine: networks must be among net, which the file defines, not 'other'"),
        ("methods.mine.options.n", 5, "methods.mine: options: n must be from 1 to group = 4, not 5"),
        ("grid", [], "grid must be a list of at least one table"),
        ("grid.0.methods", ["crips"], r"grid 1: method must be one of dense, .*, not 'crips'; did you mean crisp\?"),
        ("grid.0.networks", ["nett"], r"grid 1: networks must be among net, which the file defines, not 'nett'; did you mean net\?"),
        ("grid.0.seeds", [1, 1], "grid 1: seeds must name each value once, not 1 again"),
        ("grid.0.seeds", [], "grid 1: seeds must name at least one, not none"),
        ("grid.0.sparsities", [1.0], "grid 1: sparsities must be a list, each at least 0 and below 1, not 1.0"),
        ("grid.0.sparsities", None, "grid 1 must have one of sparsities, cycles, cycles_of_sparsity, since crisp prunes to a level"),
        ("grid.0.patterns", ["2/4"], "grid 1: patterns must be a list, each N:M, such as 2:4, not '2/4'"),
        ("grid.0.patterns", ["5:4"], "crisp for net: n must be from 1 to group = 4, not 5"),
        (
            "grid.0.patterns",
            ["2:4", "2:8"],
            r"small.toml: crisp for net: M must be that of the machine 'default', 4, not 8; choose another pattern, group or config",
        ),
        ("options.group", 8, r"small.toml: crisp for net: M must be that of the machine 'default', 4, not 8"),
        ("networks.net.options", {"group": 16}, r"small.toml: crisp for net: M must be that of the machine 'default', 4, not 16"),
        ("grid.0.blocks", [8], "grid 1: blocks must be a list, each 16, 32 or 64, not 8"),
    ],
)
def test_what_is_wrong_is_told(path, value, message):
    with pytest.raises(ExperimentError, match=message):
        small(path, value)


def test_settings_count_together(tmp_path):
    """Those of a network or method need not stand alone: the experiment's are there before them."""
    path = tmp_path / "eight.toml"
    path.write_text("group_size = 8\n")
    changed = table("methods.mine.options", {"n": 8}) | {"config": str(path)}
    changed["options"] |= {"group": 8, "batch": 24}
    changed["networks"]["net"]["options"] = {"microbatch": 12}
    options = read_experiment(changed, PATH).prune_options("net", "mine", None, None, 1)
    assert (options.n, options.group, options.batch, options.microbatch) == (8, 8, 24, 12)


def test_order_of_steps_may_be_shared():
    changed = table()
    changed["options"] |= {"n": 2, "per_block": False, "order": "nm-first"}
    experiment = read_experiment(changed, PATH)
    orders = {name: experiment.prune_options("net", name, None, None, 1).order for name in ("dense", "block", "mine", "crisp")}
    assert orders == {"dense": Order.TOGETHER, "block": Order.TOGETHER, "mine": Order.NM_FIRST, "crisp": Order.TOGETHER}


def test_patterns_of_another_machine(tmp_path):
    path = tmp_path / "eight.toml"
    path.write_text("group_size = 8\n")
    changed = table("grid.0.patterns", ["2:8"])
    changed |= {"config": str(path), "options": {**changed["options"], "group": 8}}
    assert read_experiment(changed, PATH).grids[0].patterns == ((2, 8),)
    changed["options"]["group"] = 4
    with pytest.raises(ExperimentError, match=rf"dense for net: M must be that of the machine '{path}', 8, not 4"):
        read_experiment(changed, PATH)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ExperimentError, match=r"none.toml: must be an experiment file, but cannot be read"):
        load_experiment(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_text("a = = 1")
    with pytest.raises(ExperimentError, match=r"a.toml: must be TOML, but"):
        load_experiment(tmp_path / "a.toml")


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_files_of_the_source(path):
    assert load_experiment(path).name == path.stem
