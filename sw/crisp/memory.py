"""Memory that training frees and asks for again in every step: kept by the process, in large pages.

glibc gives large pieces back to the system when they are freed, and takes them anew, page by page, when the next step needs them. Told to
keep them, it need not. What tells it is an environment variable that it reads when a program starts, so the program starts itself again.
"""

import os
import sys
from collections.abc import Mapping

__all__ = ["keep_memory", "tuned"]

VARIABLE = "GLIBC_TUNABLES"
#: Nothing of less than 4 GiB by itself, no more than 8 GiB given back, large pages asked for. Values of glibc's manual, "Memory Allocation
#: Tunables"; those that a version does not know it passes over.
TUNABLES = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592:glibc.malloc.hugetlb=1"


def tuned(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return ``environment`` with the tunables, or none where it has some already or the C library is another."""
    try:
        is_glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):
        is_glibc = False
    if not is_glibc or VARIABLE in environment:
        return None
    return {**environment, VARIABLE: TUNABLES}


def keep_memory() -> None:
    """Start this program again, as the same process, with the tunables; do nothing where that has been done or means nothing."""
    environment = tuned(os.environ)
    if environment is None or not sys.executable:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    except OSError:
        return  # it trains as well without, only slower
