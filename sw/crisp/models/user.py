"""A user's own network, made by a function that the user names.

Naming it means running it: the function's module is imported as ``python`` would. A checkpoint can never name one.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from .head import ModelError

__all__ = ["make_model", "names_function"]

FORM = "module:function or file.py:function"


def names_function(text: str) -> bool:
    """Tell whether ``text`` names a function rather than one of `crisp.models.ARCHITECTURES`."""
    return ":" in text


def make_model(text: str, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """Call the function that ``text`` names and return the network that it makes.

    Parameters
    ----------
    text : str
        ``module:function``, where the module is one that Python finds, the current folder included, or ``file.py:function``. A class does
        as well as a function.
    arguments : mapping, optional
        Keyword arguments of the call.

    Raises
    ------
    ModelError
        When the text has another form, there is no such module or function, the call fails, or it returns no network.
    """
    module_name, _, function_name = text.rpartition(":")
    if not module_name or not function_name.isidentifier():
        raise ModelError(f"model must be {FORM}, not {text!r}")
    module = import_file(Path(module_name)) if module_name.endswith(".py") else import_module(module_name)
    function: Callable[..., object] | None = getattr(module, function_name, None)
    if not callable(function):
        public = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise ModelError(f"{text}: must name a function, but {module_name} has only {', '.join(public) or 'none'}; name one of them")
    try:
        model = function(**(arguments or {}))
    except Exception as error:  # whatever the user's code raises
        raise ModelError(f"{text}: must make a network of {dict(arguments or {})}, but raises {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{text}: must return a torch.nn.Module, not a {type(model).__name__}; return the network")
    return model


def import_module(name: str) -> ModuleType:
    """Import a module by its name; the current folder is looked at last."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise ModelError(f"model must be {FORM}, not one of a module {name!r}")
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever the user's code raises
        raise ModelError(f"{name}: must be a module that can be imported, but {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(here)


def import_file(path: Path) -> ModuleType:
    """Import a module by its file."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or specification is None or specification.loader is None:
        raise ModelError(f"{path}: must be a Python file, but there is none; name one that exists")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        raise ModelError(f"{path}: must be a module that can be imported, but {type(error).__name__}: {error}") from error
    return module
