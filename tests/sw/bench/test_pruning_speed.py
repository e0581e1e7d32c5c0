from crisp.bench.pruning_speed import measure_masks, measure_training
from crisp.bench.pruning_speed_document import pruning_speed_markdown


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


def test_section_has_what_was_measured():
    shares = {"data": 0.1, "teacher": 0.2, "forward": 0.3, "backward": 0.35, "optimizer": 0.05}
    record = {
        "command": "crisp bench --only pruning",
        "commit": "abc",
        "machine": {"processor": "x86_64", "cores": 2, "torch": "2.13.0"},
        "masks": [{"network": "resnet50", "pattern": "2:4", "weights": 23_000_000, "seconds": 0.291, "memory_over_weights": 2.57}],
        "training": [
            {
                "network": "mobilenetv2",
                "width": 0.5,
                "batch": 64,
                "bare_images_per_second": 400,
                "images_per_second": 300,
                "saliency_seconds": 0.014,
                "selection_seconds": 0.05,
                "shares": shares,
            }
        ],
    }
    text = pruning_speed_markdown(record)
    assert "| resnet50 | 2:4 | 23,000,000 | 0.29 | 2.6 |" in text
    assert "| mobilenetv2 x0.5 | 300 | 75% | 0.01 | 0.05 | 10% | 20% | 30% | 35% | 5% |" in text
    assert "| optimizer |" in text
