from crisp.pruning_speed import measure_masks, measure_training


def test_masks_of_a_small_network():
    for record in measure_masks("resnet20", repeats=1):
        assert record["weights"] > 250_000
        assert record["seconds"] > 0
        assert 2 < record["memory_over_weights"] < 8  # of a small network, which has more lists than weights


def test_parts_of_training_add_up():
    record = measure_training("resnet20", 0.5, images=128)
    assert sum(record["shares"].values()) > 0.99
    assert set(record["shares"]) == {"data", "teacher", "forward", "backward", "optimizer"}
    assert 0 < record["images_per_second"]
    assert 0 < record["bare_images_per_second"]
