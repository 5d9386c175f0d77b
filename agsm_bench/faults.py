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
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN), BACK),
    **dict.fromkeys((errno.ENODEV, errno.ENXIO, errno.ECONNRESET), BACK),
    errno.ENOMEM: NEED_LESS_MEMORY,
    errno.EAGAIN: RAISE_PROCESSES,
}
"""Errors of reading that say nothing of the file: it is not to be called damaged, nor what is made of it recorded."""
ANY = "A file or the standard output cannot be used"
FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
UNWRITABLE = (*FULL, *CLOSED, errno.EFBIG)
LOCKLESS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_NO_MEMORY = re.compile(r"DefaultCPUAllocator|[Cc]annot allocate memory|can't allocate memory|bad_alloc")
_RUST = re.compile(r"\(os error (\d+)\)")
"""How safetensors and tokenizers write the number of an error."""


def denied(error: BaseException | None) -> bool:
    """Whether the machine, and no file or picture, is to blame for what went wrong while reading or computing."""
    return _number(error) in PASSING


def told(error: BaseException) -> UserError | None:
    """What to say and do of an error that nobody else has explained; None for one that only a programmer can mend."""
    number = _number(error)
    if isinstance(error, UserError):
        # what could not be read for want of memory or files is no damaged file
        cause = error.__cause__
        return (told(cause) if cause and isinstance(error, MissingError) and denied(cause) else None) or error
    if number == errno.ENOMEM:
        return UserError(f"Out of memory: {_first_sentence(error)}.", NEED_LESS_MEMORY)
    if number is None:
        return None
    name = f"{error.filename} cannot be used" if isinstance(error, OSError) and error.filename else ANY
    code = ExitCode.MISSING if number == errno.ENOENT else ExitCode.USAGE
    return UserError(f"{name} ({_reason(error, number)}).", advice(number), code)


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


def _number(error: BaseException | None) -> int | None:
    """The number of the OSError behind an error; None where it is no fault of the machine's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return errno.EAGAIN
    if isinstance(error, (RuntimeError, ImportError, OSError)) and _NO_MEMORY.search(text):
        return errno.ENOMEM
    found = _RUST.search(text)
    return int(found[1]) if found else None


def _reason(error: BaseException, number: int) -> str:
    return os.strerror(number) if isinstance(error, OSError) else str(error).partition("\n")[0]


def _first_sentence(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    if asked := re.search(r"you tried to allocate \d+ bytes", text):
        return asked[0]
    return text.partition(". ")[0].removesuffix(".") or type(error).__name__
