"""The terminal: what comes out of files is shown there as text, and is neither markup nor a command to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unicodedata import category

if TYPE_CHECKING:
    from rich.console import Console


BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that turn the order of those that follow."""


def plain(text: str) -> str:
    """The text without what steers the terminal: an escape sequence does nothing without its first character."""
    if text.isprintable():
        return text
    return "".join(each for each in text if each in "\n\t" or not (category(each) in ("Cc", "Cs") or each in BIDI))


def plain_console(**settings: Any) -> Console:
    """rich's console, to which brackets and colons are letters; `settings` as it takes them."""
    from rich.console import Console
    from rich.segment import Segment

    class Plain(Console):
        def render(self, renderable: Any, options: Any = None) -> Any:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(plain(segment.text), segment.style)

    return Plain(markup=False, emoji=False, **settings)
