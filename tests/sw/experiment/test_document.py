import shutil
from pathlib import Path

import pytest
from tests.sw.experiment.made import made_records

from crisp.document import DocumentError, write_documents
from crisp.experiment.document import pruning_markdown
from crisp.experiment.records import write_records

ROOT = Path(__file__).parents[3]
RECORDS = made_records(networks=("resnet20",), sizes=(3,), values=(0.9,))


def rows(text, start):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith(start)]


def test_page_has_what_was_measured():
    text = pruning_markdown(RECORDS)
    cells = [record for record in RECORDS if record["method"] == "hybrid"]
    drop = 100 * sum(record["top1_dense"] - record["top1_float"] for record in cells) / len(cells)
    (ours,) = rows(text, "| **ours** |")
    assert ours[1].startswith(f"**{drop:.2f} ± ")
    assert ours[1].endswith("; x10.00, 90.0% sparse")
    (nm,) = rows(text, "| N:M only |")
    assert nm[1] == "-"
    (ahead,) = (row for row in rows(text, "| resnet20 | cycles of uniform 90%") if row[2] == "CRISP")
    crisp = [record for record in RECORDS if record["method"] == "crisp"]
    gained = 100 * (sum(record["top1_float"] for record in cells) - sum(record["top1_float"] for record in crisp)) / len(cells)
    assert ahead[3:5] == ["9 of 3", f"**{gained:+.2f}**"]
    assert "+0.10" in text


def test_page_of_few_records():
    text = pruning_markdown([record for record in RECORDS if record["method"] == "dense"][:1])
    assert "At equal cycles" not in text
    assert "How far ours is ahead" not in text
    one = [record for record in RECORDS if record["seed"] == 1 and record["class_set"] == "3-0"]
    assert "±" not in pruning_markdown(one)


@pytest.fixture
def tree(tmp_path):
    for name in ("README.md", "results", "docs", "sim/crisp_sim/crisp_registers.h"):
        source = ROOT / name
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, tmp_path / name)
    return tmp_path


def test_page_follows_the_results(tree):
    write_records(RECORDS, tree / "results")
    page = tree / "docs/pruning-results.md"
    page.unlink(missing_ok=True)
    assert write_documents(tree, check=True) == [page]
    write_documents(tree)
    assert write_documents(tree, check=True) == []
    write_records(RECORDS[:9], tree / "results")
    assert write_documents(tree, check=True) == [page]
    (tree / "results/pruning.json").unlink()
    with pytest.raises(DocumentError, match=r"pruning.json: must be there"):
        write_documents(tree)
