"""What a test bench passes to the cocotb tests that it runs in the simulator."""

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["parameters"]


def parameters() -> dict[str, Any]:
    """Return the ``parameters`` that `crisp_sim.cocotb_runner.simulate` was given; call it from the cocotb tests."""
    text = os.environ.get("CRISP_PARAMETERS", "{}")
    return json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
