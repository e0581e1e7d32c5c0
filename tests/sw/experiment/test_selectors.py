import dataclasses

import numpy as np
import pytest

from crisp.arch import Pattern, check
from crisp.experiment.selectors import PublishedChoice, choose_nm, choose_random_blocks, choose_unstructured, misordered
from crisp.prune import Goal, Layer, Price, PruneError, PruneOptions, Ranking
from crisp.prune.masks import choose_masks, measure
from crisp.prune.nm import nm_mask

OPTIONS = PruneOptions(n=2, per_block=False, ranking=Ranking.RAW, price=Price.WEIGHTS)
SHAPES = {"wide": (40, 144), "tall": (64, 72), "flat": (16, 100)}
RANDOM = np.random.default_rng(0)


def problem(seed):
    random = np.random.default_rng(seed)
    layers = {}
    for name, shape in SHAPES.items():
        exists = np.ones(shape, bool)
        exists[:, -3:] = False
        layers[name] = Layer(exists, pixels=4)
    return {name: random.exponential(size=shape) for name, shape in SHAPES.items()}, layers


def cycles_of(patterns):
    """A machine that takes a cycle for each step."""
    return int(sum(pattern.row_steps.sum() for pattern in patterns.values()))


def kept(selection):
    return sum(int(mask.sum()) for mask in selection.masks.values())


def check_all(selection, layers):
    for name, mask in selection.masks.items():
        check(mask, selection.patterns[name], layer=name)
        assert not (mask & ~layers[name].exists).any()


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.999])
def test_unstructured_keeps_the_largest_wherever_they_are(sparsity):
    scores, layers = problem(1)
    selection = choose_unstructured(scores, layers, Goal(sparsity=sparsity), OPTIONS, RANDOM)
    entries = sorted(
        ((-scores[name][row, column], name, row, column) for name in SHAPES for row, column in np.argwhere(layers[name].exists)),
    )
    wanted = {entry[1:] for entry in entries[: int(len(entries) * (1 - sparsity) + 1e-6)]}
    assert {(name, row, column) for name, mask in selection.masks.items() for row, column in np.argwhere(mask)} == wanted
    check_all(selection, layers)


def test_unstructured_within_cycles_keeps_all_that_fit():
    scores, layers = problem(2)
    dense = cycles_of({name: Pattern.dense(shape, 16, 4) for name, shape in SHAPES.items()})
    goal = Goal(cycles=dense // 3, measure=cycles_of)
    selection = choose_unstructured(scores, layers, goal, OPTIONS, RANDOM)
    assert 0.99 * goal.cycles <= cycles_of(selection.patterns) <= goal.cycles
    check_all(selection, layers)
    with pytest.raises(PruneError, match="cycles must leave room for 32, which the network takes at least, not 10; allow more cycles"):
        choose_unstructured(scores, layers, dataclasses.replace(goal, cycles=10), OPTIONS, RANDOM)


@pytest.mark.parametrize(("sparsity", "n"), [(0.0, 4), (0.24, 3), (0.25, 3), (0.5, 2), (0.7, 1)])
def test_nm_keeps_as_many_as_the_goal_allows(sparsity, n):
    scores, layers = problem(3)
    selection = choose_nm(scores, layers, Goal(sparsity=sparsity), OPTIONS, RANDOM)
    for name, mask in selection.masks.items():
        assert (selection.patterns[name].n == n).all()
        groups = np.where(layers[name].exists, scores[name], -1).reshape(len(mask), -1, 4)
        for group, keeps in zip(groups.reshape(-1, 4), mask.reshape(-1, 4), strict=True):
            assert set(np.flatnonzero(keeps)) == {place for place in np.argsort(-group)[:n] if group[place] >= 0}
    check_all(selection, layers)


def slow_on_the_left(patterns):
    """A machine on which blocks on the left take longer."""
    return int(sum((pattern.n * np.linspace(3, 1, pattern.n.shape[1])).sum() for pattern in patterns.values()))


@pytest.mark.parametrize("seed", range(8))
def test_random_blocks_keep_the_budget_too(seed):
    """Cycles hang on which blocks stay: those that chance says may be slower than those that were chosen."""
    scores, layers = problem(seed)
    dense = slow_on_the_left({name: Pattern.dense(shape, 16, 4) for name, shape in SHAPES.items()})
    goal, options = Goal(cycles=dense // 3, measure=slow_on_the_left), dataclasses.replace(OPTIONS, seed=seed)
    drawn = choose_random_blocks(scores, layers, goal, options, RANDOM)
    assert 0.7 * goal.cycles < slow_on_the_left(drawn.patterns) <= goal.cycles
    check_all(drawn, layers)


def test_nm_has_a_limit():
    scores, layers = problem(4)
    with pytest.raises(PruneError, match=r"N:M alone must not be asked for more than 1:4 takes, but is for sparsity 0.800; ask for less"):
        choose_nm(scores, layers, Goal(sparsity=0.8), OPTIONS, RANDOM)
    dense = cycles_of({name: Pattern.dense(shape, 16, 4) for name, shape in SHAPES.items()})
    goal = Goal(cycles=dense // 2, measure=cycles_of)
    assert (choose_nm(scores, layers, goal, OPTIONS, RANDOM).patterns["wide"].n == 2).all()
    with pytest.raises(PruneError, match="is for 100 cycles"):
        choose_nm(scores, layers, dataclasses.replace(goal, cycles=100), OPTIONS, RANDOM)


@pytest.mark.parametrize("per_block", [False, True])
def test_random_blocks_are_as_many_in_each_layer_but_others(per_block):
    scores, layers = problem(5)
    options = dataclasses.replace(OPTIONS, per_block=per_block)
    goal, less = Goal(sparsity=0.7), Goal(sparsity=0.85)
    chosen, drawn = (choose(scores, layers, goal, options, RANDOM) for choose in (choose_masks, choose_random_blocks))
    for name, pattern in chosen.patterns.items():
        assert np.array_equal(np.sort(pattern.n, axis=1), np.sort(drawn.patterns[name].n, axis=1))
    assert any(not np.array_equal(pattern.n, drawn.patterns[name].n) for name, pattern in chosen.patterns.items())
    check_all(drawn, layers)
    saliency = [sum(float(scores[name][mask].sum()) for name, mask in each.masks.items()) for each in (chosen, drawn)]
    assert saliency[0] > saliency[1]
    later = choose_random_blocks(scores, layers, less, options, RANDOM)
    assert all((later.patterns[name].n <= pattern.n).all() for name, pattern in drawn.patterns.items())
    other = choose_random_blocks(scores, layers, goal, dataclasses.replace(options, seed=2), RANDOM)
    assert any(not np.array_equal(pattern.n, drawn.patterns[name].n) for name, pattern in other.patterns.items())


def published_order(weights, block):
    """The public code's `get_prune_column_score` and `create_column_wise_mask`, in its words, for the best blocks of each row."""
    rows, columns = len(weights) // block, weights.shape[1] // block
    pieces = [np.stack(np.split(row, columns)) for row in weights]
    blocks = np.stack(pieces, axis=1).reshape(-1, block, block)
    return blocks.reshape(len(blocks), -1).sum(axis=1).reshape(rows, columns)


def test_wrong_order_is_that_of_the_public_code():
    random = np.random.default_rng(6)
    scores = random.exponential(size=(48, 112))
    exists = np.ones(scores.shape, bool)
    options = dataclasses.replace(OPTIONS, n=4)
    wrong = misordered(measure(scores, exists, 4, options), scores, exists, 4, options)
    assert np.array_equal(wrong.order, np.argsort(published_order(scores, 16), axis=1, kind="stable"))
    assert not np.array_equal(wrong.order, measure(scores, exists, 4, options).order)
    with pytest.raises(PruneError, match="per_block must be false with the public code's order of blocks"):
        misordered(measure(scores, exists, 4, dataclasses.replace(options, per_block=True)), scores, exists, 4, options)


def test_saliency_kept_at_60_percent_of_blocks_pruned():
    """On 128 x 1152 in blocks of 16, the right order keeps clearly more than chance, the public code's order no more."""
    random = np.random.default_rng(7)
    scores = {"layer": np.abs(random.normal(size=(128, 1152)) * random.normal(size=(128, 1152)))}
    layers = {"layer": Layer(np.ones((128, 1152), bool))}
    options = dataclasses.replace(OPTIONS, n=4, floor=0.0)
    goal = Goal(sparsity=0.6, n=4)

    def share(choose):
        (mask,) = choose(scores, layers, goal, options, RANDOM).masks.values()
        assert mask.mean() == pytest.approx(0.4, abs=0.015)
        return float(scores["layer"][mask].sum() / scores["layer"].sum())

    right, drawn = share(choose_masks), share(choose_random_blocks)
    wrong = share(PublishedChoice(freeze=False))
    assert right > drawn + 0.02
    assert wrong == pytest.approx(drawn, abs=0.005)


def test_frozen_masks_stay_as_they_were_first():
    choose, (scores, layers), (others, _) = PublishedChoice(misorder=False), problem(8), problem(9)
    first = choose(scores, layers, Goal(sparsity=0.5), OPTIONS, RANDOM)
    later = choose(others, layers, Goal(sparsity=0.8), OPTIONS, RANDOM)
    free = choose_masks(others, layers, Goal(sparsity=0.8), OPTIONS, RANDOM)
    frozen = {name: nm_mask(np.where(layers[name].exists, score, -1), 2, 4) for name, score in scores.items()}
    for masks in (first.masks, later.masks):
        assert all(not (mask & ~frozen[name]).any() for name, mask in masks.items())
    assert any((mask & ~frozen[name]).any() for name, mask in free.masks.items())
    check_all(later, layers)
    assert kept(later) <= 0.2 * sum(int(layer.exists.sum()) for layer in layers.values())


def test_without_faults_it_is_the_library_s_choice():
    scores, layers = problem(10)
    plain, ours = (
        choose(scores, layers, Goal(sparsity=0.8), OPTIONS, RANDOM)
        for choose in (PublishedChoice(misorder=False, freeze=False), choose_masks)
    )
    assert all(np.array_equal(plain.masks[name], mask) for name, mask in ours.masks.items())
