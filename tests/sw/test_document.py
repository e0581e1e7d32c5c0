"""Generated documents are up to date, and say so when they are not."""

import shutil
from pathlib import Path

import pytest

from crisp.document import DocumentError, write_documents

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path):
    for name in ("README.md", "results", "docs", "sim/crisp_sim/crisp_registers.h"):
        source = ROOT / name
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, tmp_path / name)
    return tmp_path


def test_documents_are_fresh() -> None:
    assert write_documents(ROOT, check=True) == [], "run `make docs`"


def test_stale_documents_are_found_and_mended(tree: Path) -> None:
    readme = tree / "README.md"
    whole = readme.read_text()
    readme.write_text(whole.replace("<!-- begin demo -->\n", "<!-- begin demo -->\nSomething else.\n"))
    assert write_documents(tree, check=True) == [readme]
    assert write_documents(tree) == [readme]
    assert readme.read_text() == whole


def test_missing_marker(tree: Path) -> None:
    (tree / "README.md").write_text("nothing")
    with pytest.raises(DocumentError, match=r"^README.md: must hold <!-- begin demo --> and <!-- end demo -->"):
        write_documents(tree)


def test_missing_result(tree: Path) -> None:
    (tree / "results" / "demo.json").unlink()
    with pytest.raises(DocumentError, match=r"demo.json: must be there for the README; measure it with `make bench`$"):
        write_documents(tree)
