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


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "users_network.py").write_text(SOURCE)
    (tmp_path / "broken_network.py").write_text("raise RuntimeError('no')")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("users_network", None)


def test_function_of_a_module_in_the_current_folder(folder):
    before = list(sys.path)
    assert make_model("users_network:make", {"width": 8}).in_features == 8
    assert sys.path == before


def test_function_of_a_file_and_class_of_a_module(folder):
    assert make_model(f"{folder}/users_network.py:make").in_features == 4
    assert isinstance(make_model("torch.nn:Linear", {"in_features": 2, "out_features": 3}), nn.Linear)


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
