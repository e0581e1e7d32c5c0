import dataclasses

import numpy as np
import pytest

from crisp.arch import check
from crisp.prune import Goal, Layer, Price, PruneError, PruneOptions, Ranking
from crisp.prune.masks import choose_masks, choose_uniform_mask

SHAPES = {"a": (16, 288), "b": (40, 160), "c": (64, 128)}
LAYERS = {name: Layer(np.ones(shape, bool)) for name, shape in SHAPES.items()}


#: CRISP's pattern and competition.
CRISP = PruneOptions(n=2, per_block=False, ranking=Ranking.RAW, price=Price.WEIGHTS)


def random_choice(seed, sparsity, **options):
    random = np.random.default_rng(seed)
    scores = {name: random.exponential(size=shape) for name, shape in SHAPES.items()}
    chosen = choose_masks(scores, LAYERS, Goal(sparsity), dataclasses.replace(CRISP, **options))
    return scores, chosen.masks, chosen.patterns


@pytest.mark.parametrize("per_block", [False, True])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "group", "block"), [(2, 4, 16), (1, 4, 16), (4, 4, 16), (3, 8, 32), (4, 16, 64)])
def test_masked_weights_obey_their_patterns(seed, n, group, block, per_block):
    for share in (0.9, 0.6):
        sparsity = 1 - share * n / group
        scores, masks, patterns = random_choice(seed, sparsity, n=n, group=group, block=block, floor=0, per_block=per_block)
        for name, mask in masks.items():
            check(scores[name] * mask, patterns[name], layer=name)
            assert len(set(patterns[name].n.sum(axis=1).tolist())) == 1
            assert set(np.unique(patterns[name].n).tolist()) <= ({*range(n + 1)} if per_block else {0, n})
        kept = sum(int(mask.sum()) for mask in masks.values())
        assert kept <= (1 - sparsity) * sum(rows * columns for rows, columns in SHAPES.values()) + 1e-6


def test_as_much_stays_as_the_sparsity_allows():
    _, masks, _ = random_choice(0, 0.8, floor=0)
    total = sum(rows * columns for rows, columns in SHAPES.values())
    largest_rank_column = 64 * 16 // 2
    assert 0 <= 0.2 * total - sum(int(mask.sum()) for mask in masks.values()) < largest_rank_column


def test_floor_keeps_a_share_of_each_layer():
    random = np.random.default_rng(0)
    scores = {name: random.random(shape) * (1e-6 if name == "a" else 1) for name, shape in SHAPES.items()}
    for floor, least in ((0.0, 1), (0.34, 6)):
        patterns = choose_masks(scores, LAYERS, Goal(0.75), dataclasses.replace(CRISP, floor=floor)).patterns
        assert patterns["a"].kept.sum(axis=1).tolist() == [least]


def test_padding_of_k_is_no_weight():
    scores = {"a": np.ones((16, 48))}
    exists = np.tile(np.arange(16) < 13, (16, 3))
    masks = choose_masks(scores, {"a": Layer(exists)}, Goal(0.5), CRISP).masks
    assert not (masks["a"] & ~exists).any()


def test_sparsity_that_cannot_be():
    with pytest.raises(PruneError) as caught:
        random_choice(0, 0.4)
    assert str(caught.value) == (
        "sparsity must be at least 0.500, which N:M takes by itself, not 0.400; choose a larger N or a higher sparsity"
    )
    with pytest.raises(PruneError, match="sparsity must be at most"):
        random_choice(0, 0.99)


@pytest.mark.parametrize(
    ("shape", "density", "options", "columns"),
    [
        ((40, 160), 0.1, {"n": 2, "group": 4}, 2),  # of 10 block columns
        ((40, 160), 0.08, {"n": 2, "group": 4}, 2),
        ((40, 160), 0.06, {"n": 2, "group": 4}, 1),
        ((40, 160), 0.001, {"n": 2, "group": 4}, 1),  # never none
        ((40, 160), 0.5, {"n": 2, "group": 4}, 10),
        ((64, 640), 0.07, {"n": 1, "group": 4, "block": 32}, 6),  # of 20: 7.5% is nearer than 6.25%
    ],
)
def test_uniform_mask_has_the_nearest_density(shape, density, options, columns):
    score = np.random.default_rng(0).exponential(size=shape)
    mask, pattern = choose_uniform_mask(score, np.ones(shape, bool), density, dataclasses.replace(CRISP, **options))
    check(score * mask, pattern)
    assert pattern.kept.sum(axis=1).tolist() == [columns] * pattern.block_rows
    assert mask.sum() == pattern.density * mask.size


def test_uniform_mask_keeps_the_most_salient():
    score = np.full((32, 64), 1.0)
    score[:16, 16:32] = score[16:, 48:] = 2.0
    score[:, 3::4] *= 1.5
    mask, pattern = choose_uniform_mask(score, np.ones(score.shape, bool), 0.06, dataclasses.replace(CRISP, n=1))
    assert pattern.kept.tolist() == [[False, True, False, False], [False, False, False, True]]
    assert np.flatnonzero(mask[0]).tolist() == [19, 23, 27, 31]
    assert np.flatnonzero(mask[16]).tolist() == [51, 55, 59, 63]
