"""What a machine may deny: space, files, memory, locks, a disk that is gone. Neither the user's mistake nor damage."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping

from agsm_bench.errors import ExitCode, MissingError, UserError

GO_ON = "then run the same command to go on."
NEED_LESS_MEMORY = (
    "Use a smaller --batch-size, or --offload model (eval); --rows-per-backward 4, --gradient-checkpointing or "
    "--dtype bfloat16 (train). `agsm-bench doctor` estimates what a training takes."
)
BACK = f"See that the disk or network folder is there and sound, {GO_ON}"
RAISE_FILES = f"Allow more open files (ulimit -n 4096), {GO_ON}"
RAISE_PROCESSES = f"Allow more processes (ulimit -u) or end others, {GO_ON}"

PASSING: Mapping[int, str] = {
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), RAISE_FILES),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENODEV, errno.ENXIO), BACK),
    errno.ENOMEM: NEED_LESS_MEMORY,
    errno.EAGAIN: RAISE_PROCESSES,
}
"""Errors of reading that say nothing of the file: it is not to be called damaged, nor what is made of it recorded."""
ANY = "A file or the standard output cannot be used"
FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
UNWRITABLE = (*FULL, *CLOSED, errno.EFBIG)
LOCKLESS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_NO_MEMORY = re.compile(
    r"DefaultCPUAllocator|[Cc]annot allocate memory|can't allocate memory|bad_alloc|failed to map segment"
    r"|could not create a primitive$"
)
"""The last is oneDNN's."""


def denied(error: BaseException | None) -> bool:
    """Whether the machine, and no file or picture, is to blame for what went wrong while reading or computing."""
    return _denial(error) is not None


def told(error: BaseException) -> UserError | None:
    """What to say and do of an error that nobody else has explained; None for one that only a programmer can mend."""
    denial = _denial(error)
    if isinstance(error, UserError) and not (denial and isinstance(error, MissingError)):
        return error  # but what could not be read for want of memory or files is no damaged file
    found = denial or error
    number = _number(found)
    if number == errno.ENOMEM:
        asked = _first_sentence(found)
        return UserError(f"Out of memory{': ' * bool(asked)}{asked}.", NEED_LESS_MEMORY)
    if number is None:
        return None
    name = f"{found.filename} cannot be used" if isinstance(found, OSError) and found.filename else ANY
    code = ExitCode.MISSING if number == errno.ENOENT else ExitCode.USAGE
    return UserError(f"{name} ({_reason(found, number)}).", advice(number), code)


def advice(number: int | None, elsewhere: str = "use another --out") -> str:
    """What to do about the number of an OSError, by its cause; `elsewhere`: how another place is named."""
    own = {
        **dict.fromkeys(FULL, f"Free space there, or {elsewhere}."),
        errno.EFBIG: f"Allow larger files (ulimit -f unlimited), {GO_ON}",
        errno.ENOENT: f"See that the folder is there, {GO_ON}",
        **dict.fromkeys(CLOSED, f"Make it writable, or {elsewhere}."),
        **dict.fromkeys(LOCKLESS, f"Mount it with locks, or {elsewhere} on a disk of this machine."),
    }
    return {**PASSING, **own}.get(number or 0, f"{elsewhere[0].upper()}{elsewhere[1:]}.")


def as_os_error(error: Exception) -> Exception:
    """The OSError that a library has put into words of its own; the error itself where it is another."""
    number = _number(error)
    return error if number is None else OSError(number, os.strerror(number))


def _denial(error: BaseException | None) -> BaseException | None:
    """The first cause that the machine is to blame for: libraries wrap it, several times, in words of their own."""
    found = None
    while error is not None:
        found = error if _number(error) in PASSING else found
        error = error.__cause__ or error.__context__
    return found


def _number(error: BaseException) -> int | None:
    """The number of an OSError, also of one that torch or a library in Rust has put into words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, UserError):  # it is told by whoever raised it, with its number in words, too
        return None
    text = str(error)
    if "can't start new thread" in text:
        return errno.EAGAIN
    if _NO_MEMORY.search(text):
        return errno.ENOMEM
    known = (*PASSING, *UNWRITABLE)
    return next((n for n in known if f"{os.strerror(n)} ({n})" in text or f"(os error {n})" in text), None)


def _reason(error: BaseException, number: int) -> str:
    return os.strerror(number) if isinstance(error, OSError) else str(error).partition("\n")[0]


def _first_sentence(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    if asked := re.search(r"you tried to allocate \d+ bytes", text):
        return asked[0]
    return text.partition(". ")[0].removesuffix(".")
