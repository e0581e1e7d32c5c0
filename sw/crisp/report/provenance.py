"""Where a figure came from: it stands beside every result."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["provenance", "write_json"]


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
    """Write ``value`` as JSON: to a temporary file that then takes the name, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(temporary, path)
