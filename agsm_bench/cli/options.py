"""Turns options dataclasses into command-line flags."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any, get_type_hints

import typer

from agsm_bench.contracts import default_of


def with_flags(function: Callable[..., None], *dataclasses: type) -> Callable[..., None]:
    """`function` with a flag for every field of the dataclasses, passed on as keyword arguments.

    Its last parameter must be `**flags`.
    """
    signature = inspect.signature(function, eval_str=True)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for each in dataclasses:
        hints = get_type_hints(each)
        for item in fields(each):
            flag = typer.Option(help=item.metadata["help"])
            annotation = Annotated[hints[item.name], flag]  # type: ignore[valid-type, name-defined]
            parameters.append(
                inspect.Parameter(
                    item.name, inspect.Parameter.KEYWORD_ONLY, default=default_of(item), annotation=annotation
                )
            )

    def command(**values: Any) -> None:
        function(**values)

    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = function.__doc__
    return command


def pick(dataclass: type, flags: dict[str, Any]) -> Any:
    """An instance of the dataclass from the flags of its fields."""
    return dataclass(**{item.name: flags[item.name] for item in fields(dataclass)})
