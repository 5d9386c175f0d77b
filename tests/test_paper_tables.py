"""The published tables: their structure, and every printed value against the paper's text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agsm_bench.report.files import results_dir
from agsm_bench.report.tables import NUMBERS, PaperTable, load_paper

PAPER = Path(__file__).parents[2] / "shared" / "facts" / "paper.txt"
CITATION = re.compile(r" \(([^()]*et al\., \d{4}[a-z]?)\)")
LATEX = {
    r"\mathcal{D}": "D",
    r"\emptyset": "∅",
    r"\times 10^2": "×10²",
    r"\times 10^3": "×10³",
    r"\gamma": "γ",
    r"\in": "∈",
    r"\{": "{",
    r"\}": "}",
    "^+": "⁺",
    "^-": "⁻",
    "$": "",
}

needs_paper = pytest.mark.skipif(not PAPER.is_file(), reason=f"the paper's text is not at {PAPER}")
tables = pytest.mark.parametrize("table", [load_paper(number) for number in NUMBERS], ids=lambda t: str(t.number))


def plain(text: str) -> str:
    for latex, character in LATEX.items():
        text = text.replace(latex, character)
    return re.sub(r" +([.,])", r"\1", text.strip())


def printed(number: int) -> tuple[str, list[list[str]]]:
    """A table's caption and its lines as cells, empty cells dropped."""
    block: list[list[str]] = []
    for line in PAPER.read_text(encoding="utf-8").splitlines():
        if "\t" in line:
            block.append([cell.strip() for cell in line.split("\t") if cell.strip()])
        elif found := re.match(r"Table (\d+)\. (.*)", line):
            if int(found[1]) == number:
                return plain(found[2]), block
            block = []
    raise AssertionError(f"Table {number} is not in {PAPER}")


def expected_lines(table: PaperTable) -> list[tuple[list[str], list[bool]]]:
    """The printed order of a row's cells, without its group, and which of them are underlined."""
    lines = []
    for section in table.sections:
        for row in section.rows:
            cells = [(value, key in row.marks) for key, value in row.values.items()]
            # Tables 2 and 10 print the inversion before the method
            place = 1 if "inversion" in row.values else 0
            cells.insert(place, (row.label, False))
            lines.append(([value for value, _ in cells], [mark for _, mark in cells]))
    return lines


def test_there_are_thirteen_tables_and_nothing_else() -> None:
    names = sorted(path.name for path in (results_dir() / "paper").iterdir())
    assert names == [f"table_{number:02d}.json" for number in range(1, 14)]
    assert [load_paper(number).number for number in NUMBERS] == list(range(1, 14))


@tables
def test_keys_are_unique_and_rows_are_as_long_as_the_columns(table: PaperTable) -> None:
    sections = [section.key for section in table.sections]
    assert len(set(sections)) == len(sections) > 0
    for section in table.sections:
        columns = [column.key for column in section.columns]
        rows = [row.key for row in section.rows]
        assert len(set(columns)) == len(columns)
        assert len(set(rows)) == len(rows)
        for row in section.rows:
            assert list(row.values) == columns
            assert set(row.marks) <= set(columns)
            assert set(row.marks.values()) <= {"underline"}
            assert row.group in {"SD1.5", "SDXL", "SD3"}


@tables
def test_metric_columns_hold_numbers_with_a_direction(table: PaperTable) -> None:
    for section in table.sections:
        for column in section.columns:
            if column.direction is None:
                continue
            assert column.direction == ("down" if re.match("FID|LPIPS", column.label) else "up")
            assert all(re.fullmatch(r"-?\d+\.\d+", row.values[column.key]) for row in section.rows)


@needs_paper
@tables
def test_every_value_stands_in_the_paper_in_the_same_order(table: PaperTable) -> None:
    _, block = printed(table.number)
    expected = expected_lines(table)
    data = [line for line in block if len(line) > 1 and not any("uparrow" in cell for cell in line)]
    data = [line for line in data if CITATION.sub("", plain(line[-1])) not in {"HPSv2", "lr scheduler"}]
    data = [line for line in data if line[0] != "Inversion"]
    assert len(data) == len(expected)
    for line, (values, marks) in zip(data, expected, strict=True):
        own = line[-len(values) :]
        assert [plain(CITATION.sub("", re.sub("</?u>", "", cell))) for cell in own] == values
        assert ["<u>" in cell for cell in own] == marks


@needs_paper
@tables
def test_printed_groups_and_citations_agree(table: PaperTable) -> None:
    _, block = printed(table.number)
    rows = [row for section in table.sections for row in section.rows]
    cites = [found[1] for line in block for cell in line if (found := CITATION.search(cell))]
    assert cites == [row.cite for row in rows if row.cite]
    leading = {line[0] for line in block} & {"SD1.5", "SDXL", "SD3"}
    assert leading <= {row.group for row in rows}


@needs_paper
@tables
def test_caption_and_column_heads_are_the_papers(table: PaperTable) -> None:
    caption, block = printed(table.number)
    assert table.caption == caption
    heads = [re.sub(r"[\s-]", "", plain(cell)) for line in block for cell in line]
    for section in table.sections:
        for column in section.columns:
            arrow = {"up": r"\uparrow", "down": r"\downarrow", None: ""}[column.direction]
            label = re.sub(r"[\s-]", "", column.label)
            # Table 9 prints no arrows
            assert label + arrow * (table.number != 9) in heads
        assert not section.row_header or re.sub(r"[\s-]", "", section.row_header) in heads


def test_the_papers_odd_coincidences_are_kept() -> None:
    bt = load_paper(7).sections[0].rows[0]
    batch_of_four = load_paper(13).sections[0].rows[0]
    assert list(bt.values.values()) == list(batch_of_four.values.values())
    assert load_paper(12).sections[0].rows[0].values["image_reward"] == "94.27"
    assert load_paper(8).sections[0].rows[0].values["clip"] == "26.4"
