import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.sw.experiment.made import made_records

from crisp.document import DocumentError, write_documents
from crisp.experiment.document import pruning_markdown, pruning_summary
from crisp.experiment.records import write_records
from crisp.prune import PruneOptions

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


def test_runs_that_are_no_pairs_are_not_compared():
    """Ours with a full head has no pair among the others, whose heads are reduced: the page has no such line, and is there."""
    records = [dict(record) for record in RECORDS]
    for record in records:
        if record["method"] == "hybrid":
            record["options"] = {**record["options"], "head": "full"}
    assert not rows(pruning_markdown(records), "| resnet20 | cycles of uniform 90% | CRISP")


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


def test_summary_has_a_line_for_each_level_and_a_column_for_each_method():
    records = made_records(networks=("resnet20", "vgg16-quarter"), sizes=(3,), values=(0.8, 0.9))
    text = pruning_summary(records)
    (headings,) = rows(text, "| network")
    assert headings[:3] == ["network", "speed-up", "**ours**"]
    lines = [dict(zip(headings, line, strict=True)) for line in rows(text, "| resnet20") + rows(text, "| vgg16")]
    assert [line["network"] for line in lines] == ["resnet20", "resnet20", "vgg16-quarter", "vgg16-quarter"]
    at_90 = [record for record in records if record["top1_float"] and (record["level"] or {}).get("value") == 0.9]
    assert lines[1]["speed-up"] == f"x{np.mean([record['cycles_dense'] / record['cycles'] for record in at_90]):.1f}"
    ours = [record for record in at_90 if (record["network"], record["method"]) == ("resnet20", "hybrid")]
    drop = np.mean([100 * (record["top1_dense"] - record["top1_float"]) for record in ours])
    assert lines[1]["**ours**"].startswith(f"**{drop:.2f} ± ")
    assert {line["N:M only"] for line in lines} == {"-"}  # out of reach
    some = [record for record in records if record["method"] != "channel" or record["network"] == "resnet20"]
    assert rows(pruning_summary(some), "| vgg16")[0][headings.index("channels")] == ""  # not tried


def test_a_line_is_over_runs_that_all_its_methods_have():
    records = made_records(networks=("resnet20",), sizes=(3,), values=(0.9,))
    some = [record for record in records if not (record["method"] == "crisp" and record["class_set"] == "3-0" and record["seed"] == 1)]
    whole, less = (rows(pruning_summary(found), "| resnet20")[0] for found in (records, some))
    shared = [record for record in records if (record["class_set"], record["seed"]) != ("3-0", 1)]
    assert less == rows(pruning_summary(shared), "| resnet20")[0]
    assert less != whole


def test_page_tells_in_what_settings_differ_from_the_defaults():
    changed = {**PruneOptions().to_dict(), "final_images": 100, "seed": 7, "sparsity": 0.5}
    assert "Settings are the library's but for `final_images = 100` (resnet20)." in pruning_markdown(
        [{**record, "options": changed} for record in RECORDS]
    )
    assert "Settings are the library's but" not in pruning_markdown([{**record, "options": {"seed": 3}} for record in RECORDS])


def test_page_of_blocks_of_several_sizes():
    larger = [{**record, "block": 32} for record in RECORDS if record["method"] == "hybrid"]
    text = pruning_markdown([*RECORDS, *larger])
    assert rows(text, "| hybrid B=32 |")
    assert rows(text, "| **ours** |") == rows(pruning_markdown(RECORDS), "| **ours** |")


def test_page_and_readme_follow_the_results(tree):
    write_documents(tree)
    write_records(RECORDS, tree / "results")
    page, readme = tree / "docs/pruning-results.md", tree / "README.md"
    assert set(write_documents(tree, check=True)) == {page, readme}
    write_documents(tree)
    assert write_documents(tree, check=True) == []
    page.unlink()
    assert write_documents(tree, check=True) == [page]
    (tree / "results/pruning.json").unlink()
    with pytest.raises(DocumentError, match=r"pruning.json: must be there for the README; measure it with `crisp experiment examples/.*`"):
        write_documents(tree)
