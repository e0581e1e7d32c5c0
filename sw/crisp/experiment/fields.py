"""Tables of a TOML file, read key by key: each has a type and a rule, and none is left over."""

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from .errors import ExperimentError

__all__ = ["Fields", "nearest"]

Value = TypeVar("Value")
#: Tells whether a value obeys a rule.
Check = Callable[[Value], bool]

#: What values are called in messages, by their type.
KINDS: dict[type, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "a table", list: "a list"}


class Fields:
    """A table whose keys are taken one by one.

    Parameters
    ----------
    table : object
        What TOML gave.
    place : str
        Where it stands, for messages.

    Raises
    ------
    ExperimentError
        When it is no table.
    """

    def __init__(self, table: object, place: str) -> None:
        if not isinstance(table, dict):
            raise ExperimentError(f"{place} must be a table, not {table!r}")
        self.left, self.place, self.known = dict(table), place, list[str]()

    def take(self, name: str, kind: type[Value], default: Value | None = None, check: Check[Value] | None = None, rule: str = "") -> Value:
        """Return the value of a key.

        Parameters
        ----------
        name : str
            Key.
        kind : type
            What it must be; a whole number is a number too.
        default : optional
            Its value where the table lacks it; without one it must be there.
        check, rule : optional
            What must hold of it, and how a message says so.

        Raises
        ------
        ExperimentError
            When it is missing, of another type, or breaks the rule.
        """
        self.known.append(name)
        if name not in self.left:
            if default is None:
                raise ExperimentError(f"{self.place} must have {name}, {rule or KINDS[kind]}")
            return default
        value = self.left.pop(name)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or (check is not None and not check(value)):
            raise ExperimentError(f"{self.place}: {name} must be {rule or KINDS[kind]}, not {value!r}")
        result: Value = value
        return result

    def take_list(
        self,
        name: str,
        kind: type[Value],
        default: Collection[Value] | None = None,
        check: Check[Value] | None = None,
        rule: str = "",
    ) -> tuple[Value, ...]:
        """Return the values of a key that has a list, each of which `take` would take, none twice."""
        values = self.take(name, list, None if default is None else list(default))
        each = [Fields({name: value}, self.place).take(name, kind, None, check, f"a list, each {rule or KINDS[kind]}") for value in values]
        for value in each:
            if each.count(value) > 1:
                raise ExperimentError(f"{self.place}: {name} must name each value once, not {value!r} again")
        return tuple(each)

    def take_tables(self, name: str) -> dict[str, "Fields"]:
        """Return the tables of a table, by their names; none where the key is missing."""
        return {key: Fields(table, f"{self.place}.{name}.{key}".lstrip(".")) for key, table in self.take(name, dict, {}).items()}

    def finish(self) -> None:
        """Check that nothing is left.

        Raises
        ------
        ExperimentError
            When there is a key that nobody asked for.
        """
        for name in self.left:
            raise ExperimentError(f"{self.place}: {name} must be one of {', '.join(self.known)}, but is none; {nearest(name, self.known)}")


def nearest(name: str, known: Collection[str] | Mapping[str, Any]) -> str:
    """Return what a message says of a name that is unknown."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else "leave it out"
