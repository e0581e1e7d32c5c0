"""Records of runs: put together, each with the dense network that it is compared with."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crisp.report import write_json_lines

from .errors import ExperimentError
from .levels import LevelKind

__all__ = ["FILE", "Record", "by", "collect", "of_kind", "pair_key", "read_records", "reached", "separate", "write_records"]

Record = Mapping[str, Any]

#: Name of the file in an output folder.
FILE = "pruning.json"


def pair_key(record: Record) -> tuple[Any, ...]:
    """Return what records have in common that are compared run by run: network, head, machine, images, classes and seed."""
    task = tuple(record[name] for name in ("network", "config", "split", "data", "seed"))
    return *task, tuple(record["classes"]), record["options"].get("head", "")


def collect(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return records sorted, each with the accuracy of the dense network that was fine-tuned for the same classes with the same seed.

    Where that is not done yet, ``top1_dense`` is none. Of several dense ones, which an experiment's own variants of it make, the library's
    counts.
    """
    found = list(records)
    dense_ones = sorted((record for record in found if record["base_method"] == "dense"), key=lambda record: record["method"] == "dense")
    dense = {pair_key(record): record["top1_float"] for record in dense_ones}
    return sorted(({**record, "top1_dense": dense.get(pair_key(record))} for record in found), key=order)


def order(record: Record) -> tuple[Any, ...]:
    """Return what records are sorted by."""
    level = record["level"] or {"kind": "", "value": 0.0}
    return (
        record["network"],
        len(record["classes"]),
        record["class_set"],
        record["method"],
        level["kind"],
        level["value"],
        record["pattern"],
        record["block"],
        record["seed"],
    )


def reached(records: Iterable[Record]) -> list[Record]:
    """Return the records that have an accuracy, and that of the dense network: those whose level was within the method's reach."""
    return [record for record in records if record["top1_float"] is not None and record["top1_dense"] is not None]


def of_kind(records: Iterable[Record], *kinds: LevelKind) -> list[Record]:
    """Return the records that have a level of one of the kinds."""
    names = {kind.value for kind in kinds}
    return [record for record in records if record["level"] is not None and record["level"]["kind"] in names]


def separate(records: Iterable[Record]) -> list[Record]:
    """Return records with a method each for different N:M and B that one method was asked for: tables and pictures have a line for each.

    That of most records keeps the method's name, of several the one that comes first; others are called by what differs, ``hybrid B=32``.
    """
    found = list(records)
    asked = by((record for record in found if record["level"] is not None), lambda record: record["method"])
    names: dict[tuple[Any, ...], str] = {}
    for method, mine in asked.items():
        counts = Counter(map(pattern_key, mine))
        usual = max(sorted(counts), key=counts.__getitem__)
        for n, group, block in counts:
            words = [f"{n}:{group}"] * ((n, group) != usual[:2]) + [f"B={block}"] * (block != usual[2])
            names[method, n, group, block] = " ".join((method, *words))
    return [{**record, "method": names.get((record["method"], *pattern_key(record)), record["method"])} for record in found]


def pattern_key(record: Record) -> tuple[int, int, int]:
    """Return N, M and B that a record was asked for."""
    options = record["options"]
    return options.get("n", 0), options.get("group", 0), record["block"]


def by(records: Iterable[Record], key: Callable[[Record], Any]) -> dict[Any, list[Record]]:
    """Return records by what they have in common, in their order."""
    found: dict[Any, list[Record]] = {}
    for record in records:
        found.setdefault(key(record), []).append(record)
    return found


def write_records(records: Sequence[Record], output: Path) -> None:
    """Write records, a line each."""
    write_json_lines(output / FILE, records)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read what `write_records` wrote.

    Raises
    ------
    ExperimentError
        When the file is absent or damaged.
    """
    try:
        records = json.loads(path.read_text())
    except OSError as error:
        raise ExperimentError(f"{path}: records must be in a file, but it cannot be read ({error.strerror}); name another") from error
    except ValueError as error:
        raise ExperimentError(f"{path}: records must be JSON, but are not: {error}; name another file") from error
    needed = {*"network config split data seed classes class_set method base_method level pattern block options top1_float note".split()}
    if not isinstance(records, list) or not all(isinstance(record, dict) and needed <= record.keys() for record in records):
        raise ExperimentError(f"{path}: records must be a list of those that crisp experiment writes, but are not; name another file")
    return records
