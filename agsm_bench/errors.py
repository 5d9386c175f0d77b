"""Errors a user can act on, and the exit codes of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns; the numbers are a promise to scripts and CI."""

    OK = 0
    REGRESSION = 1
    """A regression, or a check that failed."""
    USAGE = 2
    """The command was called wrongly."""
    MISSING = 3
    """Something is absent or damaged: a weight, data, an extra, a checkpoint."""
    INTERRUPTED = 130
    """Ctrl-C; another signal ends with 128 and its number (`agsm_bench.stopping`)."""


LONGEST = 2000
"""Characters of a message: some repeat what a file says."""


def shown(text: str) -> str:
    """A text that may be from a file, not endless."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


class UserError(Exception):
    """A mistake of the caller's: shown as one line with what to type next, never as a traceback.

    Args:
        message: what is wrong.
        fix: what to type next.
        code: the exit code, `ExitCode.USAGE` unless something is missing.
    """

    def __init__(self, message: str, fix: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(shown(message))
        self.message = shown(message)
        self.fix = shown(fix)
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.fix}"


class MissingError(UserError):
    """Something is absent or damaged (exit code 3).

    Args:
        message: what.
        fix: what to type next.
        parts: where it is several things, an error each: they have a line each.
    """

    def __init__(self, message: str, fix: str, parts: Sequence[MissingError] = ()) -> None:
        super().__init__(message, fix, ExitCode.MISSING)
        self.parts = tuple(parts) or (self,)

    def __str__(self) -> str:
        if len(self.parts) == 1:
            return super().__str__()
        return "\n".join(["Several things are missing.", *map(str, self.parts)])


def together(errors: Sequence[MissingError]) -> MissingError:
    """All that is missing in one error, each thing and each fix said once."""
    by_fix: dict[str, dict[str, None]] = {}
    for part in (part for error in errors for part in error.parts):
        by_fix.setdefault(part.fix, {})[part.message] = None
    parts = [MissingError(" ".join(messages), fix) for fix, messages in by_fix.items()]
    if len(parts) == 1:
        return parts[0]
    return MissingError(" ".join(part.message for part in parts), " ".join(by_fix), parts)


@contextmanager
def all_missing() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Several checks, each in a `with` of what this gives: one that finds something missing does not keep the others
    from theirs, and at the end all of it is raised in one error."""
    missing: list[MissingError] = []

    @contextmanager
    def checking() -> Iterator[None]:
        try:
            yield
        except MissingError as error:
            missing.append(error)

    yield checking
    if missing:
        raise together(missing)
