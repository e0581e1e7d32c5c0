"""A user's own network, made by a function that the user names.

Naming it means running it: the function's module is imported as ``python`` would. A checkpoint can never name one.
"""

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
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
        ``module:function``, where the module is one that Python finds, the current folder included, or ``file.py:function``, which finds
        files beside it as a script does. A class does as well as a function.
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
    is_file = module_name.endswith(".py")
    with finding(Path(module_name).parent.resolve() if is_file else Path.cwd(), first=is_file):
        module = import_file(Path(module_name)) if is_file else import_module(module_name)
        function: Callable[..., object] | None = getattr(module, function_name, None)
        if not callable(function):
            public = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise ModelError(f"{text}: must name a function, but {module_name} has only {', '.join(public) or 'none'}; name one of them")
        try:
            model = function(**(arguments or {}))
        except Exception as error:  # whatever the user's code raises
            raise ModelError(
                f"{text}: must make a network of {dict(arguments or {})}, but raises {type(error).__name__}: {error}"
            ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{text}: must return a torch.nn.Module, not a {type(model).__name__}; return the network")
    return model


@contextlib.contextmanager
def finding(folder: Path, first: bool) -> Iterator[None]:
    """Have Python look for modules in ``folder``, first or at least last, while the context lasts."""
    place = str(folder)
    if not first and place in sys.path:
        yield
        return
    sys.path.insert(0 if first else len(sys.path), place)
    try:
        yield
    finally:
        sys.path.remove(place)


def import_module(name: str) -> ModuleType:
    """Import a module by its name."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise ModelError(f"model must be {FORM}, not one of a module {name!r}")
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever the user's code raises
        raise ModelError(f"{name}: must be a module that can be imported, but {type(error).__name__}: {error}") from error


def import_file(path: Path) -> ModuleType:
    """Import a module by its file, under a name of its own, which dataclasses and others look up among the modules."""
    name = re.sub(r"\W", "_", f"file {path.resolve()}")
    specification = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or specification is None or specification.loader is None:
        raise ModelError(f"{path}: must be a Python file, but there is none; name one that exists")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        del sys.modules[name]
        raise ModelError(f"{path}: must be a module that can be imported, but {type(error).__name__}: {error}") from error
    return module
