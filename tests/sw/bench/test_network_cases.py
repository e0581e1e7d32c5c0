"""What is measured of whole networks."""

from collections import Counter

import pytest

from crisp.arch import ConfigError
from crisp.bench.errors import BenchError
from crisp.bench.network_cases import Case, select_cases
from crisp.networks import NetworkError


def test_everything_that_the_readme_shows_is_measured() -> None:
    cases = select_cases()
    assert len({case.key for case in cases}) == len(cases)
    counts = Counter((case.network, case.config) for case in cases if case.batch == 1)
    assert counts["resnet50-224", "default"] == counts["resnet50-224", "edge"] == 4
    assert counts["vgg16-224", "default"] == 3
    assert counts["vgg16-224", "edge"] == counts["resnet50-224", "quad"] == 2
    assert cases[0] == Case(network="vgg16-224")  # the longest run first
    assert {case.density for case in cases} == {1.0, 0.1, 0.08, 0.07}


def test_what_is_named_is_measured() -> None:
    assert select_cases(["vgg16-224"], ["edge"], [0.07]) == [Case(network="vgg16-224", config="edge", density=0.07)]
    assert {case.config for case in select_cases(["vgg16-224"])} == {"default", "edge"}
    assert {case.network for case in select_cases(configs=["duo"])} == {"resnet50-224"}
    assert {case.batch for case in select_cases(["vgg16-224"])} == {1, 4}
    assert {case.config for case in select_cases(batches=[4])} == {"default"}
    assert str(select_cases(["resnet50-32"], ["default"], [0.1])[0]) == "resnet50-32, default, 2:4 10%"
    cases = select_cases(["resnet50-32"], ["default"], [0.1], [1, 4])
    assert [str(case) for case in cases] == ["resnet50-32, default, 2:4 10%", "resnet50-32, default, 2:4 10%, 4 images"]


def test_what_cannot_be_measured() -> None:
    with pytest.raises(NetworkError, match=r"^network must be one of resnet20-fashion, .*, not 'alexnet'$"):
        select_cases(["alexnet"])
    with pytest.raises(ConfigError, match="preset must be one of"):
        select_cases(configs=["huge"])
    with pytest.raises(NetworkError, match="density must be more than 0"):
        select_cases(densities=[0.7])
    with pytest.raises(BenchError, match=r"^batch must be at least 1 image, not 0$"):
        select_cases(batches=[0])
