"""The answer to one question about this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Check:
    """What was found."""

    group: str
    """Heading, e.g. `data`."""
    name: str
    state: State
    says: str
    """What is there, or what is wrong."""
    fix: str = ""
    """What to type next; empty where nothing is to be done."""
    needed: bool = True
    """Whether the chosen run needs it."""

    @property
    def fails(self) -> bool:
        """Whether the chosen run cannot work."""
        return self.needed and self.state == "missing"


def gigabytes(count: float) -> str:
    """Bytes in words: 12.3 GB, or 45.6 MB of small ones."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
