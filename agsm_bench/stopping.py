"""Ctrl-C, and the signals with which a scheduler or a launcher ends a command: it keeps what it has.

The first one raises KeyboardInterrupt in the main thread, or is only noted where a step is worth finishing. The next
one ends the process at once, which loses no more than a SIGKILL does. Another soon after is the same one again: a
terminal and SLURM signal every process, and torchrun passes on to its own what it has got.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""SIGUSR1 is what `sbatch --signal` is usually told to send ahead of the time limit."""
SAME = 2.0
"""Seconds."""
DEFAULT = (signal.SIG_DFL, signal.default_int_handler)
AT_ONCE = "agsm-bench: Ended at once; what was kept before stays. Run the same command to go on.\n"


@dataclass
class _State:
    first: int | None = None
    """The number of the first signal."""
    last: float = 0.0
    """When the last one came that counted."""
    finishing: bool = False
    """Whether a step is to be finished first."""
    raised: bool = False


_state = _State()


def answer_signals() -> None:
    """From here on, in the main thread of the process; those that are ignored (nohup) stay so."""
    for number in SIGNALS:
        if signal.getsignal(number) in DEFAULT:
            signal.signal(number, _answer)


def leave_signals() -> None:
    """At the end of a process: nothing is left to be kept."""
    for number in SIGNALS:
        if signal.getsignal(number) is _answer:
            signal.signal(number, signal.SIG_DFL)


def asked_to_stop() -> bool:
    """Whether a signal has come."""
    return _state.first is not None


def stopped() -> bool:
    """Whether KeyboardInterrupt was raised: other errors may be what came of it."""
    return _state.raised


def exit_code() -> int:
    """128 and the number of the signal, as shells and schedulers know it: 130 of Ctrl-C, 143 of SIGTERM."""
    return 128 + (_state.first or signal.SIGINT)


@contextmanager
def finishing_steps() -> Iterator[None]:
    """Around a loop that looks at `asked_to_stop` after every step: the first signal does not raise."""
    _state.finishing = True
    try:
        yield
    finally:
        _state.finishing = False


def _answer(number: int, frame: FrameType | None) -> None:
    now, again = monotonic(), _state.first is not None
    if again and now - _state.last < SAME:
        return
    _state.last = now
    if _state.first is None:
        _state.first = number
    if _state.finishing and not again:
        _tell("agsm-bench: Stopping after this step; a second time stops at once.\n")
    elif not _state.raised:
        _state.raised = True
        raise KeyboardInterrupt
    else:
        _tell(AT_ONCE)
        os._exit(exit_code())


def _tell(text: str) -> None:
    """Past Python's stream, in whose middle the signal may have come; a bar hides the cursor."""
    os.write(2, (("\r\x1b[?25h" if sys.stderr.isatty() else "") + text).encode())
