"""Tables in every format: what is marked and compared, and what is read back."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from report_runs import COMMITTED, committed, summary, table_one, write

from agsm_bench.errors import ExitCode
from agsm_bench.report.derived import published_difference, published_marks, ranked
from agsm_bench.report.fills import load_bases
from agsm_bench.report.render import (
    FORMS,
    SUFFIXES,
    all_as_text,
    from_csv,
    from_json,
    to_csv,
    to_json,
    to_markdown,
)
from agsm_bench.report.render.csv_file import records
from agsm_bench.report.render.grid import rooms, spans
from agsm_bench.report.render.terminal import to_terminal
from agsm_bench.report.runs import find_runs
from agsm_bench.report.settings import settings_in_words
from agsm_bench.report.tables import NUMBERS, join, load_paper

numbers = pytest.mark.parametrize("number", NUMBERS)


@numbers
def test_json_is_read_back_as_the_same_table(number: int) -> None:
    joined = committed()[number]
    assert from_json(to_json(joined)) == joined


@numbers
def test_csv_is_read_back_with_every_digit(number: int) -> None:
    joined = committed()[number]
    written = list(records(joined))
    assert from_csv(to_csv(joined)) == written
    measured = {(r.section, r.row, r.column): r for r in written if r.measured is not None}
    for section in joined.sections:
        for row in section.measured.rows if section.measured else ():
            for key, cell in row.cells.items():
                record = measured[section.published.key, row.key, key]
                assert (record.measured, record.low, record.high, record.n) == (cell.value, cell.low, cell.high, cell.n)


def test_of_all_tables_csv_and_json_are_one_text() -> None:
    tables = list(committed().values())
    assert from_csv(all_as_text(tables, "csv")) == [record for joined in tables for record in records(joined)]
    found = json.loads(all_as_text(tables, "json"))["tables"]
    assert [from_json(json.dumps({"schema": 1, **each})) for each in found] == tables


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_another_csv_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="columns of a table"):
        from_csv(text)


def test_a_csv_cut_short_is_refused(project: Path) -> None:
    text = to_csv(table_one())
    with pytest.raises(ValueError, match="cut short"):
        from_csv(text[: text.rindex(",")][:-40].rpartition(",")[0])


@pytest.mark.parametrize(
    ("values", "direction", "best", "second"),
    [
        ({"a": 1.0, "b": 2.0, "c": 3.0}, "up", {"c"}, {"b"}),
        ({"a": 1.0, "b": 2.0, "c": 3.0}, "down", {"a"}, {"b"}),
        ({"a": 1.0, "b": 2.0}, "up", {"b"}, set()),
        ({"a": 3.0, "b": 3.0, "c": 1.0}, "up", {"a", "b"}, set()),
        ({"a": 3.0, "b": 2.0, "c": 2.0}, "up", {"a"}, {"b", "c"}),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, "up", set(), set()),
        ({"a": 1.0}, "up", set(), set()),
        ({}, "up", set(), set()),
    ],
)
def test_ranks(values: dict[str, float], direction: Any, best: set[str], second: set[str]) -> None:
    marks = ranked(values, direction)
    assert {key for key, mark in marks.items() if mark == "best"} == best
    assert {key for key, mark in marks.items() if mark == "second"} == second


@numbers
def test_the_papers_underlines_stay_as_printed_and_none_is_the_best(number: int) -> None:
    for section in load_paper(number).sections:
        printed = {(row.key, key) for row in section.rows for key in row.marks}
        second = {place for place, mark in published_marks(section).items() if mark == "second"}
        assert second == printed or not printed


@numbers
def test_the_best_of_a_backbone_beats_its_other_rows(number: int) -> None:
    for section in load_paper(number).sections:
        marks = published_marks(section)
        for row in section.rows:
            for column in section.columns:
                if marks.get((row.key, column.key)) != "best":
                    continue
                sign = 1 if column.direction == "up" else -1
                rivals = [Decimal(each.values[column.key]) for each in section.rows if each.group == row.group]
                assert all(sign * (Decimal(row.values[column.key]) - value) >= 0 for value in rivals)


@numbers
def test_base_rows_are_rows_of_the_table_and_start_from_no_other(number: int) -> None:
    for section in committed()[number].sections:
        known = {row.key for row in section.published.rows} | {
            row.key for row in (section.measured.rows if section.measured else ())
        }
        groups = {row.key: row.group for row in section.published.rows}
        for key, base in load_bases(number).get(section.published.key, {}).items():
            assert key != base
            assert key in known
            assert base in known or number == 3, "Table 3 prints no plain backbone"
            if key in groups and base in groups:
                assert groups[key] == groups[base]


def test_differences_are_to_the_base_row_published_and_measured(project: Path) -> None:
    write("base", summary(0.60))
    write("agsm", summary(0.625, "agsm"))
    geneval = table_one().sections[1]
    ours = next(row for row in geneval.published.rows if row.key == "ours")
    assert published_difference(geneval, ours, geneval.published.columns[1]) == "+0.04"
    found = {(r.section, r.row, r.column): r for r in records(table_one())}
    record = found["geneval", "ours", "mean"]
    assert record.base == "sd3"
    assert record.measured_difference == pytest.approx(0.025)
    assert record.difference_to_paper is None, "the shapes' GenEval is not the paper's"
    assert found["geneval", "sd3", "mean"].measured_difference is None
    assert found["geneval", "softrepa", "mean"].measured_difference is None
    text = to_markdown(table_one())
    assert "**0.625** (0.605–0.645) (Δ +0.025)" in text


@pytest.mark.parametrize("width", [80, 120, 200])
@numbers
def test_on_the_terminal_no_line_of_a_table_is_wider_than_it(number: int, width: int) -> None:
    from rich.console import Console

    from agsm_bench.report.render import to_rich

    console = Console(width=width, file=None, record=False)
    with console.capture() as captured:
        console.print(to_rich(committed()[number], width), crop=False)
    lines = captured.get().splitlines()
    shown = [line for line in lines if not line.startswith("   agsm-bench")]
    widest = 103 if number == 11 and width == 80 else width
    assert max(map(len, shown)) <= widest


def test_a_shared_heading_has_room() -> None:
    from agsm_bench.report.render.grid import published_grid

    grid = published_grid(committed()[2].sections[0])
    assert [group for group, _ in spans(grid.heads)][1:] == [
        "Human Preference",
        "Text Alignment",
        "Background Preservation",
    ]
    narrow = grid.of_columns(slice(6, 7))
    assert rooms(narrow.heads) == [len("Background Preservation")]


@pytest.mark.parametrize("form", FORMS)
def test_all_writes_a_file_a_table_and_one_that_holds_them(project: Path, cli: Cli, form: str) -> None:
    assert cli("report", "--all", "--format", form, "--out", "new/tables") == (0, "", "")
    whole = {"html": ["index.html"], "latex": ["tables.tex"]}.get(form, [])
    expected = {f"table_{number:02d}{SUFFIXES[form]}" for number in NUMBERS} | set(whole)
    assert {path.name for path in Path("new/tables").iterdir()} == expected
    assert Path(f"new/tables/table_04{SUFFIXES[form]}").read_text() == FORMS[form](join(4, "shapes", find_runs()))


def test_all_prints_every_table(project: Path, cli: Cli) -> None:
    code, out, _ = cli("report", "--all", "--format", "csv")
    assert code == 0
    assert {row["table"] for row in csv.DictReader(out.splitlines())} == set(map(str, NUMBERS))
    assert cli("report", "--all", "--format", "latex")[1].count(r"\begin{document}") == 1


def refused(result: tuple[int, str, str], code: ExitCode, *words: str) -> None:
    """One clear line, and nothing else."""
    assert result[:2] == (code, "")
    assert result[2].count("\n") == 1
    assert all(word in result[2] for word in words), result[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--all", "--table", 6], ["Which table?", "--all"]),
        (["--all", "--figure", 4], ["Which table?"]),
        ([], ["Which table?", "--table N"]),
        (["--table", 14], ["no Table 14", "1..13"]),
        (["--all", "--out", "file"], ["file is a file", "folder"]),
        (["--all", "--out", "file/tables"], ["file/tables", "--out"]),
        (["--table", 6, "--out", "folder"], ["folder cannot be written", "--out"]),
    ],
)
def test_wrong_calls_are_one_line(project: Path, cli: Cli, arguments: list[object], words: list[str]) -> None:
    Path("file").write_text("")
    Path("folder").mkdir()
    refused(cli("report", *arguments), ExitCode.USAGE, *words)


def test_a_folder_without_a_run_and_a_truncated_summary_are_one_line(project: Path, cli: Cli) -> None:
    Path("empty").mkdir()
    refused(cli("report", "--all", "--runs", "empty"), ExitCode.MISSING, "empty has no summary.json", "agsm-bench eval")
    path = write("cut", summary(0.6)) / "summary.json"
    path.write_text(path.read_text()[:200])
    refused(cli("report", "--all"), ExitCode.MISSING, str(path), "agsm-bench score")


def test_a_table_to_a_file_has_no_codes_of_the_terminal() -> None:
    assert "\x1b" not in to_terminal(committed()[6], to_file=True)


def test_table_eleven_holds_what_the_committed_trainings_have() -> None:
    section = committed()[11].sections[0]
    assert section.used is not None
    assert [row.label for row in section.used.rows] == ["shapes-unet", "shapes-mmdit"]
    printed = {row.group: row for row in section.published.rows}
    for row in section.used.rows:
        config = json.loads((COMMITTED / f"agsm-{row.label}-0" / "config.json").read_text())
        assert row.values == settings_in_words(config["training"])
        assert all(row.values[column.key] for column in section.published.columns)
        paper = printed[row.group]
        assert set(row.marks) == {key for key, value in row.values.items() if value != paper.values[key]}
        assert {"lr", "iterations"} <= set(row.marks)
        assert row.cite.endswith("3 trainings")
    text = to_markdown(committed()[11])
    assert "| shapes-mmdit (for SD3) (3 trainings) | **3e-3** | 1e-4 | 16(1 : 3) | **600** |" in text


def test_on_photographs_table_eleven_is_the_papers_by_default() -> None:
    used = join(11, "photo", []).sections[0].used
    assert used is not None
    assert [row.label for row in used.rows] == ["sd15", "sdxl", "sd3"]
    assert not any(row.marks for row in used.rows)


def test_published_rows_that_nothing_of_ours_stands_for_are_named() -> None:
    text = to_markdown(committed()[1])
    assert "Nothing of ours stands for: SDXL, Ours on SDXL." in text
    assert "Nothing of ours stands for: CaPO on SD3, RankDPO on SD3." in text
    assert "Nothing of ours stands for" not in to_markdown(committed()[6])


def test_a_metric_that_a_rows_runs_lack_is_named_with_its_command(project: Path) -> None:
    data = summary(0.6)
    for name in ("shapes_clip/score", "shapes/too_few"):
        data["metrics"].pop(name, None)
    write("base", data)
    text = to_markdown(table_one())
    assert "base: no Too few, shapes-clip, Fréchet distance" in text
    assert "To fill it: agsm-bench score runs/base --metrics shapes_clip/score" in text


def test_all_tables_load_nothing_heavy(project: Path) -> None:
    code = (
        "import sys; sys.argv = ['agsm-bench', 'report', '--all', '--format', 'html', '--out', 'pages']\n"
        "from agsm_bench.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print(*(name for name in sys.modules if '.' not in name))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "scipy", "pandas", "matplotlib", "diffusers", "transformers", "accelerate", "PIL", "numpy"}
    assert "agsm_bench" in loaded
    assert not heavy & set(loaded)
