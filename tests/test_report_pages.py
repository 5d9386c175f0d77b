"""Tables as HTML and LaTeX: every value is there, hostile text stays text, TeX takes it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_runs import committed

from agsm_bench.report.render import (
    all_as_text,
    to_html,
    to_latex,
    write_folder,
)
from agsm_bench.report.render.latex import document, escape
from agsm_bench.report.tables import NUMBERS, JoinedTable

numbers = pytest.mark.parametrize("number", NUMBERS)


class Outline(HTMLParser):
    """The tags of a page that could load or run something, its addresses, and its cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.addresses += [str(found[name]) for name in ("src", "href") if name in found]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(found["content"])


def test_the_page_needs_nothing_from_elsewhere() -> None:
    outline = Outline()
    outline.feed(all_as_text(list(committed().values()), "html"))
    assert not {"script", "link", "img", "iframe", "object"} & set(outline.tags)
    assert outline.addresses == [f"#table-{number}" for number in NUMBERS]
    assert outline.policy.startswith("default-src 'none'; style-src 'sha256-")
    assert outline.tags.count("article") == len(NUMBERS)


@numbers
def test_every_printed_value_is_on_the_page_and_in_latex(number: int) -> None:
    joined = committed()[number]
    page, latex = to_html(joined), to_latex(joined).replace(r"\ensuremath{-}", "-")
    for section in joined.sections:
        for row in section.published.rows:
            assert all(value in page for value in row.values.values())
            assert all(escape(value) in latex for value in row.values.values())


HOSTILE = r"""<script>alert(1)</script> 50% & $x_1^2$ #{a}~b\input{x} "q" `c` | -- Ünïçø∂é"""


def hostile() -> JoinedTable:
    joined = committed()[6]
    paper = replace(joined.paper, caption=HOSTILE, notes=(HOSTILE,))
    section = joined.sections[0]
    rows = (replace(section.published.rows[0], label=HOSTILE, cite=HOSTILE), *section.published.rows[1:])
    published = replace(section.published, title=HOSTILE, rows=rows, row_header=HOSTILE)
    assert section.measured
    measured = replace(section.measured, left_out=((HOSTILE, HOSTILE),))
    return replace(joined, paper=paper, sections=(replace(section, published=published, measured=measured),))


def test_what_a_table_says_is_text_on_the_page() -> None:
    page = to_html(hostile())
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_latex_escapes_everything() -> None:
    assert escape("a_b & 5% #1 $x {y} ~ ^ \\ -- é ⁺ 中") == (
        r"a\_b \& 5\% \#1 \$x \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{} -{}- \'{e} "
        r"\ensuremath{^{+}} [U+4E2D]"
    )
    text = to_latex(hostile())
    assert text.isascii()
    # a special character is behind a backslash, or it is ours: a column, a group, a row's end
    bare = re.sub(r"\\[\\%$#_{}&]|[{}&]", "", text.split("\n", 1)[1])
    assert not re.search(r"[#_$]", bare.replace("\\ensuremath^", ""))
    assert r"\input" not in text


def test_latex_has_rules_groups_and_marks() -> None:
    text = to_latex(committed()[2])
    assert r"\multicolumn{2}{c}{Human Preference}" in text
    assert r"\cmidrule(lr){3-4}" in text
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\uparrow", r"\downarrow"))
    assert r"\textbf{132.3}" in text
    assert r"\underline{\ensuremath{-}12.76}" not in text  # of its group the fourth
    for line in text.splitlines():
        if line.startswith(r"\begin{tabular}"):
            columns = len(line.rpartition("{")[2]) - 1
        elif line.endswith(r"\\"):
            cells = sum(int(count) - 1 for count in re.findall(r"\\multicolumn\{(\d+)\}", line))
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + cells == columns


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no pdflatex (Debian: texlive-latex-recommended)")
def test_latex_compiles_without_a_complaint(tmp_path: Path) -> None:
    write_folder(list(committed().values()), "latex", tmp_path)
    (tmp_path / "hostile.tex").write_text(document([to_latex(hostile())]), encoding="utf-8")
    for name in ("tables", "hostile"):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
        assert (tmp_path / f"{name}.pdf").stat().st_size > 10_000
        if name == "tables":
            assert "Overfull" not in done.stdout
            assert "Float too large" not in done.stdout
