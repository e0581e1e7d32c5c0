"""Where a figure came from: it stands beside every result."""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crisp.arch.files import write_text

__all__ = ["provenance", "write_json", "write_json_lines"]


def provenance(command: str, seed: int) -> dict[str, Any]:
    """Return what a reader needs to repeat a result: command, seed, and the commit of the source.

    Parameters
    ----------
    command : str
        Command that makes the result.
    seed : int
        Seed of everything random.
    """
    return {"command": command, "seed": seed, "commit": commit()}


def commit() -> str:
    """Return the commit of the source tree, with ``-dirty`` where it was changed since; or ``unknown``."""
    folder = Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return result.stdout.strip() or "unknown"


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, so that no reader sees half of it."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Write values as a JSON array that has each on a line of its own, likewise."""
    write_text(path, "[\n" + ",\n".join(json.dumps(value) for value in values) + "\n]\n")
