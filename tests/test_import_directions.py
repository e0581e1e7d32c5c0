"""Who may import whom: the packages stay separable, and the contract stays light."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {"crisp": ROOT / "sw" / "crisp", "crisp_hw": ROOT / "hw" / "crisp_hw", "crisp_sim": ROOT / "sim" / "crisp_sim"}

STANDARD = sys.stdlib_module_names
OURS = tuple(SOURCES)


@dataclass(frozen=True)
class Rule:
    """What the modules of a package may import.

    Parameters
    ----------
    package : str
        The package that it is for; the longest that fits a module counts.
    third_party : tuple of str
        Packages of others.
    ours : tuple of str
        Packages of this project.
    in_functions : tuple of str
        More packages, which only functions may import, when they need them.
    """

    package: str
    third_party: tuple[str, ...] | None
    ours: tuple[str, ...]
    in_functions: tuple[str, ...] = ()

    def forbids(self, name: str, *, in_function: bool) -> bool:
        allowed = self.ours + (self.in_functions if in_function else ())
        if name.partition(".")[0] in OURS:
            return not any(is_within(name, package) for package in allowed)
        if name.partition(".")[0] in STANDARD or self.third_party is None:
            return False
        return not any(is_within(name, package) for package in (*self.third_party, *(self.in_functions if in_function else ())))

    def __str__(self) -> str:
        others = "any package" if self.third_party is None else ", ".join(self.third_party)
        lazily = f"; inside functions also {', '.join(self.in_functions)}" if self.in_functions else ""
        return f"{self.package} may import the standard library, {others}, {', '.join(self.ours)}{lazily}"


RULES = (
    Rule("crisp.arch", third_party=("numpy",), ours=("crisp.arch",)),
    Rule("crisp.golden", third_party=("numpy",), ours=("crisp.arch", "crisp.golden")),
    Rule("crisp.compile", third_party=("numpy", "onnx", "google", "rich"), ours=("crisp.arch", "crisp.golden", "crisp.compile")),
    Rule("crisp", third_party=None, ours=("crisp",), in_functions=("crisp_hw", "crisp_sim")),
    Rule("crisp_hw", third_party=("amaranth",), ours=("crisp.arch", "crisp_hw")),
    Rule(
        "crisp_sim",
        third_party=("numpy", "amaranth", "cocotb", "cocotb_tools", "find_libpython", "pytest"),
        ours=("crisp.arch", "crisp.golden", "crisp_hw", "crisp_sim"),
    ),
)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def rule_of(module: str) -> Rule:
    return max((rule for rule in RULES if is_within(module, rule.package)), key=lambda rule: len(rule.package))


def imports_of(tree: ast.Module, package: str) -> Iterator[tuple[str, int, bool]]:
    """Give what is imported, the line, and whether a function does it. Imports for type checkers alone are left out."""

    def walk(node: ast.AST, in_function: bool) -> Iterator[tuple[str, int, bool]]:
        if isinstance(node, ast.If) and ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING":
            for child in node.orelse:
                yield from walk(child, in_function)
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, in_function
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                # `from crisp import arch` reaches crisp.arch, so the name counts as well.
                yield f"{base}.{alias.name}", node.lineno, in_function
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(tree, False)


def violations(source: str, module: str, package: str, place: str) -> list[str]:
    """Say which imports of a module break its rule, with their lines."""
    rule = rule_of(module)
    return [
        f"{place}:{line}: {module} imports {name}{' inside a function' if in_function else ''}, but {rule}"
        for name, line, in_function in imports_of(ast.parse(source, place), package)
        if rule.forbids(name, in_function=in_function)
    ]


def modules() -> Iterator[tuple[Path, str, str]]:
    """Give file, module and package of every source."""
    for root_package, root in SOURCES.items():
        for path in sorted(root.rglob("*.py")):
            names = [root_package, *path.relative_to(root).with_suffix("").parts]
            is_package = names[-1] == "__init__"
            module = ".".join(names[:-1] if is_package else names)
            yield path, module, module if is_package else ".".join(names[:-1])


def test_sources_follow_the_rules():
    found = [
        line for path, module, package in modules() for line in violations(path.read_text(), module, package, str(path.relative_to(ROOT)))
    ]
    assert not found, "\n".join(["imports against the directions:", *found])


def test_every_package_is_looked_at():
    seen = {module for _, module, _ in modules()}
    assert {"crisp.arch", "crisp.golden", "crisp", "crisp_hw", "crisp_hw.verilog", "crisp_sim"} <= seen


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("crisp.arch.config", "import torch"),
        ("crisp.arch.config", "from amaranth.lib import data"),
        ("crisp.arch.config", "from crisp.golden import engine"),
        ("crisp.arch.config", "from ..golden import engine"),
        ("crisp.arch.config", "from .. import golden"),
        ("crisp.arch.config", "def f():\n    import torch"),
        ("crisp.golden.engine", "import crisp_hw"),
        ("crisp.golden.engine", "from crisp import models"),
        ("crisp.compile.front_end", "import torch"),
        ("crisp.compile.front_end", "from crisp.quantize import quantize"),
        ("crisp.models.resnet", "import crisp_sim.machine"),
        ("crisp.models.resnet", "class A:\n    from crisp_hw import engine"),
        ("crisp.models.resnet", "if True:\n    import crisp_hw"),
        ("crisp_hw.engine", "from crisp.golden.requantize import requantize"),
        ("crisp_hw.engine", "import numpy"),
        ("crisp_hw.engine", "def f():\n    import crisp_sim"),
        ("crisp_sim.machine", "import torch"),
        ("crisp_sim.machine", "from crisp.prune import loop"),
    ],
)
def test_wrong_imports_are_found(module, source):
    (found,) = violations(source, module, module.rpartition(".")[0], "file.py")
    line = source.count("\n") + 1
    assert found.startswith(f"file.py:{line}: {module} imports ")
    assert found.endswith(f", but {rule_of(module)}")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("crisp.arch.config", "import dataclasses\nimport numpy as np\nfrom .errors import ConfigError"),
        ("crisp.golden.engine", "from crisp.arch import Config\nfrom ..arch import pattern"),
        ("crisp.demo", "import torch\ndef run():\n    from crisp_sim.machine import MachineSimulator"),
        ("crisp.demo", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from crisp_sim import machine"),
        ("crisp_hw.engine", "from amaranth import Module\nfrom crisp.arch import Config\nfrom .pe import ProcessingElement"),
        ("crisp_sim.machine", "import numpy\nfrom crisp.golden import engine\nfrom crisp_hw.engine import LayerEngine"),
    ],
)
def test_right_imports_pass(module, source):
    assert violations(source, module, module.rpartition(".")[0], "file.py") == []


@pytest.mark.parametrize("package", ["crisp.arch", "crisp.golden", "crisp.compile"])
def test_contract_golden_model_and_compiler_load_neither_torch_nor_amaranth(package):
    code = f"import {package}, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"torch", "amaranth", "crisp_hw", "crisp_sim", "cocotb", "matplotlib"}


def test_running_a_program_loads_no_torch():
    code = "import crisp.runtime, crisp_sim.machine, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
