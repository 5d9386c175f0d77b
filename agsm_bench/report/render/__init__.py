"""Joined tables as text: for the terminal, Markdown, CSV, JSON, LaTeX and HTML.

Published and measured values never share a column. People read measured values with the column's decimals; CSV and
JSON keep every digit, and are read back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from agsm_bench.errors import UserError
from agsm_bench.jsonl import write_atomically
from agsm_bench.report.render.csv_file import from_csv, records, to_csv, write_csv
from agsm_bench.report.render.json_file import from_json, to_json, to_json_all
from agsm_bench.report.render.latex import document, to_latex
from agsm_bench.report.render.markdown import to_markdown
from agsm_bench.report.render.page import page, to_html
from agsm_bench.report.render.terminal import to_rich, to_terminal
from agsm_bench.report.tables import JoinedTable

__all__ = [
    "FORMS",
    "SUFFIXES",
    "all_as_text",
    "as_text",
    "from_csv",
    "from_json",
    "to_csv",
    "to_html",
    "to_json",
    "to_latex",
    "to_markdown",
    "to_rich",
    "to_terminal",
    "write_folder",
]

FORMS: dict[str, Callable[[JoinedTable], str]] = {
    "rich": partial(to_terminal, to_file=True),
    "md": to_markdown,
    "csv": to_csv,
    "json": to_json,
    "latex": to_latex,
    "html": to_html,
}
"""Name of a format -> a table as it is in a file."""
SUFFIXES = {"rich": ".txt", "md": ".md", "csv": ".csv", "json": ".json", "latex": ".tex", "html": ".html"}


def as_text(joined: JoinedTable, form: str) -> str:
    """A table for the standard output, where the terminal has its width and styles."""
    return to_terminal(joined) if form == "rich" else FORMS[form](joined)


def all_as_text(tables: Sequence[JoinedTable], form: str) -> str:
    """Several tables as one text that is whole of its kind: one heading, one list, one document."""
    if form == "csv":
        return write_csv(record for joined in tables for record in records(joined))
    if form == "json":
        return to_json_all(tables)
    if form == "html":
        return page(tables)
    if form == "latex":
        return document([to_latex(joined) for joined in tables])
    return "\n".join(as_text(joined, form) for joined in tables)


def write_folder(tables: Sequence[JoinedTable], form: str, folder: Path) -> list[Path]:
    """A file a table, and one that holds or inputs all of them: `index.html`, `tables.tex`.

    Raises:
        UserError: the folder is a file.
        OSError: it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, and all tables are files of their own.", "Let --out name a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"table_{joined.paper.number:02d}{SUFFIXES[form]}": FORMS[form](joined) for joined in tables}
    if form == "html":
        texts["index.html"] = page(tables)
    if form == "latex":
        texts["tables.tex"] = document([f"\\input{{{Path(name).stem}}}\n" for name in texts])
    for name, text in texts.items():
        write_atomically(folder / name, text.encode(), sync=False)  # it can be made again
    return [folder / name for name in texts]
