import sys

import pytest
from torch import nn

from crisp.models import ModelError, make_model

SOURCE = """
from torch import nn

def make(width=4, fail=False):
    if fail:
        raise ValueError("width is odd")
    return nn.Linear(width, 2)

def number():
    return 3

VALUE = 1
"""


BLOCKS = """
from torch import nn

def block(width):
    return nn.Linear(width, 2)
"""

NEIGHBOURLY = """
from __future__ import annotations

import dataclasses

from users_blocks import block

@dataclasses.dataclass
class Sizes:
    width: int = 6

def make():
    return block(Sizes().width)

def make_late():
    import users_late
    return users_late.block(7)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "users_network.py").write_text(SOURCE)
    (tmp_path / "broken_network.py").write_text("raise RuntimeError('no')")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("users_network", None)


def test_function_of_a_module_in_the_current_folder(folder, monkeypatch):
    for place in ("", str(folder)):  # which may be among those that Python looks at already
        monkeypatch.setattr(sys, "path", [place, *sys.path] if place else sys.path)
        before = list(sys.path)
        assert make_model("users_network:make", {"width": 8}).in_features == 8
        assert sys.path == before


def test_function_of_a_file_and_class_of_a_module(folder):
    assert make_model(f"{folder}/users_network.py:make").in_features == 4
    assert isinstance(make_model("torch.nn:Linear", {"in_features": 2, "out_features": 3}), nn.Linear)


def test_file_finds_its_neighbours_and_its_dataclasses(tmp_path, monkeypatch):
    (tmp_path / "nets").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, source in (("users_blocks", BLOCKS), ("users_late", BLOCKS), ("users_neighbour", NEIGHBOURLY)):
        (tmp_path / "nets" / f"{name}.py").write_text(source)
    before, modules = list(sys.path), set(sys.modules)
    try:
        assert make_model("nets/users_neighbour.py:make").in_features == 6
        assert make_model("nets/users_neighbour.py:make_late").in_features == 7
    finally:
        for name in set(sys.modules) - modules:
            del sys.modules[name]
    assert sys.path == before


def test_file_with_the_name_of_another_module(tmp_path):
    (tmp_path / "torch.py").write_text("import torch\ndef make():\n    return torch.nn.Linear(3, 2)")
    assert make_model(f"{tmp_path}/torch.py:make").in_features == 3
    assert sys.modules["torch"].nn is nn


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("make", {}, "model must be module:function or file.py:function, not 'make'"),
        ("users_network:", {}, "model must be module:function or file.py:function, not 'users_network:'"),
        ("a b:make", {}, "model must be module:function or file.py:function, not one of a module 'a b'"),
        ("no_such:make", {}, "no_such: must be a module that can be imported, but ModuleNotFoundError: No module named 'no_such'"),
        ("broken_network:make", {}, "broken_network: must be a module that can be imported, but RuntimeError: no"),
        ("broken_network.py:make", {}, "broken_network.py: must be a module that can be imported, but RuntimeError: no"),
        ("absent.py:make", {}, "absent.py: must be a Python file, but there is none; name one that exists"),
        ("users_network:VALUE", {}, "users_network:VALUE: must name a function, but users_network has only make, number; name one of them"),
        ("users_network:number", {}, "users_network:number: must return a torch.nn.Module, not a int; return the network"),
        (
            "users_network:make",
            {"fail": True},
            "users_network:make: must make a network of {'fail': True}, but raises ValueError: width is odd",
        ),
    ],
)
def test_what_makes_no_network(folder, text, arguments, message):
    with pytest.raises(ModelError) as caught:
        make_model(text, arguments)
    assert str(caught.value) == message
