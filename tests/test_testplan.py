"""The test plan names tests that exist."""

import re
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
POINTS = tomllib.loads((TESTS / "testplan.toml").read_text())["testpoint"]


@pytest.mark.parametrize("point", POINTS, ids=[point["name"] for point in POINTS])
def test_testpoint_names_tests(point: dict) -> None:
    assert point["what"]
    assert point["tests"]
    for node in point["tests"]:
        path, _, function = node.partition("::")
        if function:
            assert re.search(rf"^def {function}\(", (TESTS / path).read_text(), re.MULTILINE), f"{node} must exist"
        else:
            assert list((TESTS / path).glob("test_*.py")) or (TESTS / path).is_file(), f"{node} must exist"


#: Blocks without a file of their own: the test of the block that they are a part of drives them with every width and pause.
TESTED_WITHIN = {
    "burst_splitter": "axi_reader",
    "chunk_widener": "load_unit",
    "cluster_share": "clusters",
    "element_loader": "load_unit",
    "patch_cutter": "load_unit",
    "row_walker": "load_unit",
    "write_collector": "load_unit",
}


def test_every_hardware_block_has_a_test() -> None:
    blocks = {path.stem for path in (TESTS.parent / "hw" / "crisp_hw").glob("*.py")} - {"__init__", "layouts", "command_layouts", "fpga"}
    tested = {path.stem.removeprefix("test_") for path in (TESTS / "hw").glob("test_*.py")}
    assert set(TESTED_WITHIN) <= blocks
    assert set(TESTED_WITHIN.values()) <= tested
    assert blocks <= tested | set(TESTED_WITHIN)
