r"""A joined table in LaTeX, by booktabs: `\input` it, or compile the main file that `document` makes.

Rows with an interval and a difference take a line of the tabular for each, so that no package for cells is needed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap

from agsm_bench.report.render.grid import Grid, Head, Line, fitting, grids, spans
from agsm_bench.report.render.notes import section_notes, to_fill
from agsm_bench.report.tables import JoinedSection, JoinedTable

WIDTH = 128
"""Characters of script size that a page is wide."""
HEIGHT = 60
"""Lines of a tabular that a page has room for; a longer grid is cut between its blocks."""
MARKS = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}
NAMES = ("uparrow", "downarrow", "Delta", "gamma", "psi", "emptyset", "times", "in")
SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\`{}",
    "–": "–",
    **{symbol: rf"\ensuremath{{\{name}}}" for symbol, name in zip("↑↓Δγψ∅×∈", NAMES, strict=True)},
    **{sup: rf"\ensuremath{{^{{{plain}}}}}" for sup, plain in zip("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+-0123456789", strict=True)},
}
ACCENTS = {"\u0301": "'", "\u0300": "`", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0327": "c", "\u030c": "v"}
"""Combining characters and LaTeX's accents."""
PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[a4paper,margin=15mm]{geometry}
\usepackage{booktabs}
\begin{document}
"""
END = "\\end{document}\n"


def to_latex(joined: JoinedTable) -> str:
    r"""Tables to `\input` into a document that loads booktabs, with notes and commands below them."""
    lines = [r"% \usepackage{booktabs}"]
    for section in joined.sections:
        for grid in grids(section, joined.domain):
            for number, part in enumerate(_parts(grid)):
                lines += _environment(joined, section, part, continued=number > 0)
    for section in joined.sections:
        lines += [rf"\paragraph{{{escape(section.published.title)}}}"] * (len(joined.sections) > 1)
        lines += _items(section_notes(section, joined))
        lines += [rf"{{\scriptsize\ttfamily\raggedright {escape(command)}\par}}" for command in to_fill(section)]
    lines += _items([f"Note: {note}" for note in joined.paper.notes])
    return "\n".join(lines) + "\n"


def document(bodies: Sequence[str]) -> str:
    """A whole document of such tables, or of commands that input them."""
    return PREAMBLE + "\\clearpage\n".join(bodies) + END


def escape(text: str) -> str:
    """Text as LaTeX prints it; what its fonts have no letter for is named by its code point."""
    # two hyphens would become a dash, and flags of commands have them
    return "".join(map(_character, unicodedata.normalize("NFC", text))).replace("--", "-{}-").replace("–", "--")


def _character(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character.isascii():
        return character if character.isprintable() else " "
    letter, *accents = list(unicodedata.normalize("NFD", character))
    if letter.isascii() and letter.isalpha() and len(accents) == 1 and accents[0] in ACCENTS:
        return f"\\{ACCENTS[accents[0]]}{{{letter}}}"
    return f"[U+{ord(character):04X}]"


def _parts(grid: Grid) -> Iterator[Grid]:
    """Cut to what a page has room for."""
    names = sum(2 + max(map(len, [name, *_texts(grid, column)])) for column, name in enumerate(grid.corner))
    for wide in fitting(grid, WIDTH - names):
        yield from wide.cut(HEIGHT)


def _texts(grid: Grid, column: int) -> list[str]:
    return [text for _, lines in grid.blocks for line in lines for text in line.names[column]]


def _environment(joined: JoinedTable, section: JoinedSection, grid: Grid, continued: bool) -> list[str]:
    stamp = f" {joined.stamp}" if joined.stamp else ""
    which = grid.kind + ", continued" * continued
    caption = f"Table {joined.paper.number} of the paper, {section.published.title}, {which}.{stamp}"
    if grid.kind == "published" and not continued:
        caption += f" {joined.paper.caption}"
    columns = "l" * len(grid.corner) + "".join("r" if head.is_number else "l" for head in grid.heads)
    return [
        r"\begin{table}[!htbp]\centering\scriptsize\setlength{\tabcolsep}{4pt}\setlength{\belowcaptionskip}{4pt}",
        rf"\caption{{{escape(caption)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_heading(grid),
        *_body(grid),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _heading(grid: Grid) -> Iterator[str]:
    """What all values are; headings that columns share; labels, on as many lines as the highest has."""
    first = len(grid.corner)
    yield from _shared([(grid.kind, len(grid.heads))], first)
    if any(head.group for head in grid.heads):
        yield from _shared(list(spans(grid.heads)), first)
    labels = [*([name] for name in grid.corner), *map(_label, grid.heads)]
    height = max(map(len, labels))
    for line in zip(*([""] * (height - len(label)) + label for label in labels), strict=True):
        yield _row(map(escape, line))
    yield r"\midrule"


def _shared(headings: Sequence[tuple[str, int]], first: int) -> Iterator[str]:
    cells, rules, column = [""] * first, [], first + 1
    for name, count in headings:
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{escape(name)}}}")
        rules += [rf"\cmidrule(lr){{{column}-{column + count - 1}}}"] if name else []
        column += count
    yield _row(cells)
    yield " ".join(rules)


def _label(head: Head) -> list[str]:
    *lines, last = wrap(head.label.replace("/", "/ "), head.room) or [""]
    return [*lines, f"{last} {head.arrow}".strip()]


def _body(grid: Grid) -> Iterator[str]:
    for number, (group, lines) in enumerate(grid.blocks):
        if group:
            yield from [r"\midrule"] * bool(number)
            yield rf"\multicolumn{{{len(grid.corner) + len(grid.heads)}}}{{l}}{{\textit{{{escape(group)}}}}} \\"
        for line in lines:
            yield from _rows(line)


def _rows(line: Line) -> Iterator[str]:
    """The names and values, and below them what is said of them."""
    cells = [[escape(first), *map(_small, more)] for first, *more in line.names]
    for entry in line.entries:
        value, *below = entry.lines
        cells.append([MARKS[entry.mark].format(_number(value)), *map(_small, below)])
    for texts in zip_longest(*cells, fillvalue=""):
        yield _row(texts)
    if max(map(len, cells)) > 1:
        yield r"\addlinespace[2pt]"


def _small(text: str) -> str:
    return rf"{{\tiny {_number(text)}}}"


def _number(text: str) -> str:
    """With a minus before a number, where the text has a hyphen."""
    return re.sub(r"(^|\s|--)-(?=\d)", r"\1\\ensuremath{-}", escape(text))


def _row(cells: Iterator[str] | Sequence[str] | map[str]) -> str:
    return " & ".join(cells) + r" \\"


def _items(texts: Sequence[str]) -> list[str]:
    if not texts:
        return []
    return [
        r"\begin{itemize}\footnotesize\sloppy\setlength{\itemsep}{0pt}",
        *(rf"\item[--] {escape(text)}" for text in texts),
        r"\end{itemize}",
    ]
