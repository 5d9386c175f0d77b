"""Files that were damaged on their way here: what reading one may raise, how an error says so, and whether what was
read is of the types that it should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from math import isfinite
from tokenize import TokenError
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from zipfile import BadZipFile
from zlib import error as ZlibError

T = TypeVar("T")

DAMAGED = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError),
    *(RuntimeError, SystemError, SyntaxError, TokenError, BadZipFile, ZlibError),
)
"""What the libraries and our own checks raise for contents that are not as they were written. RuntimeError: JSON nested
too deep, torch's readers, encrypted zips; SyntaxError: Pillow's and NumPy's headers; TokenError and SystemError:
NumPy's."""
LONGEST = 200
"""Characters of a reason: some libraries repeat the contents."""


def why(error: BaseException) -> str:
    """The reason in one short line."""
    said = str(error).partition("\n")[0]
    line = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def conforming(value: T) -> T:
    """A dataclass made of what a file says; raises TypeError where a field, or one within, is not of its type."""
    kind: Any = type(value)
    for name, hint in _hints(kind).items():
        if not fits(getattr(value, name), hint):
            raise TypeError(f"{name} of a {kind.__name__} has the wrong type")
    return value


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; numbers are finite, and a bool is none."""
    kind, of = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(fits(value, each) for each in of)
    if kind is Literal:
        return value in of
    if kind is tuple:
        each = of[:1] * len(value) if of[-1] is ... and isinstance(value, tuple) else of
        return isinstance(value, tuple) and len(value) == len(each) and all(map(fits, value, each))
    if kind is not None and issubclass(kind, Mapping):
        return isinstance(value, Mapping) and all(fits(k, of[0]) and fits(v, of[1]) for k, v in value.items())
    if hint in (int, float):
        return type(value) in (int, hint) and isfinite(value)
    if is_dataclass(hint) and type(value) is hint:
        return conforming(value) is value
    return hint is Any or isinstance(value, hint)


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)
