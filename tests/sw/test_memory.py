import os
import subprocess
import sys

import pytest

from crisp import memory
from crisp.memory import TUNABLES, VARIABLE, tuned

PROGRAM = """
import os, sys
from crisp.memory import keep_memory
print(os.getpid(), sys.argv[1:], os.environ.get("GLIBC_TUNABLES"), flush=True)
keep_memory()
sys.exit(3)
"""


@pytest.fixture
def glibc(monkeypatch):
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36")


def test_settings_of_the_user_stay(glibc):
    assert tuned({"A": "1"}) == {"A": "1", VARIABLE: TUNABLES}
    assert tuned({VARIABLE: "glibc.malloc.check=1"}) is None


def test_another_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(os, "confstr", lambda name: None)
    assert tuned({}) is None


def test_program_that_cannot_start_again_goes_on(glibc, monkeypatch):
    def fail(*arguments):
        raise OSError

    monkeypatch.setattr(memory.os, "execve", fail)
    monkeypatch.delenv(VARIABLE, raising=False)
    memory.keep_memory()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_program_starts_again_once_as_the_same_process_with_its_arguments():
    if tuned({}) is None:
        pytest.skip("needs glibc")
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    result = subprocess.run([sys.executable, "-c", PROGRAM, "a b", "--c"], env=environment, capture_output=True, text=True)
    first, second = result.stdout.splitlines()
    process = first.split()[0]
    assert first == f"{process} ['a b', '--c'] None"
    assert second == f"{process} ['a b', '--c'] {TUNABLES}"
    assert result.returncode == 3
