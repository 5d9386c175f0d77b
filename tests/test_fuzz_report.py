"""Damaged files of the results folder: published tables, what fills them, claims and figures."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from fuzzing import Kind, damaging, fuzz, nested, swap

from agsm_bench.report import figure_files, figures, fills
from agsm_bench.report.claims import load_claims
from agsm_bench.report.claims import to_json as claims_to_json
from agsm_bench.report.files import results_dir
from agsm_bench.report.render import FORMS
from agsm_bench.report.tables import join

SHIPPED = results_dir()


@pytest.fixture(autouse=True)
def _own_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results folder is the one with the damaged file; no run is in it."""
    monkeypatch.setenv("AGSM_BENCH_RESULTS", str(tmp_path / "in"))
    monkeypatch.chdir(tmp_path)


def part(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for kind in ("paper", "tables"):
            shutil.copytree(SHIPPED / kind, folder / kind)
        return folder / name

    return make


def read_table(number: int, path: Path) -> None:
    """As `agsm-bench report` does, in all its forms."""
    fills._parsed.cache_clear()
    joined = join(number, "shapes", ())
    for section in joined.sections:
        for row in section.published.rows:
            assert row.values.keys() == {column.key for column in section.published.columns}
    for form in FORMS.values():
        form(joined)


def read_claims(path: Path) -> None:
    claims = load_claims()
    assert claims.margin >= 0
    assert 0 < claims.level < 1
    claims_to_json(claims, ())


def read_figure(name: str, path: Path) -> None:
    fills._parsed.cache_clear()
    figure = figures.load(name)
    found = figures.points_of(name, figure, ())
    for form in ("csv", "json", "rich"):
        figures.as_text(name, figure, found, form)
    figure_files.title(name)


endless = swap('"caption": "', f'"caption": "{"x" * 100_000}')
letters = swap('"notes": ', f'"notes": "{"x" * 100_000}", "old": ')
KINDS = [
    Kind("published table", part("paper/table_01.json"), partial(read_table, 1), "json", (nested, endless, letters)),
    Kind("published settings", part("paper/table_13.json"), partial(read_table, 13), "json", (nested,)),
    Kind("fills of a table", part("tables/table_06.toml"), partial(read_table, 6), "toml", (nested,)),
    Kind("columns", part("tables/columns.toml"), partial(read_table, 1), "toml"),
    Kind("claims", part("tables/claims.toml"), read_claims, "toml"),
    Kind("figure 4", part("tables/figure_04.toml"), partial(read_figure, "4"), "toml"),
    Kind("figure 5", part("tables/figure_05.toml"), partial(read_figure, "5"), "toml"),
    Kind("figure of tasks", part("tables/figure_geneval.toml"), partial(read_figure, "geneval"), "toml"),
    Kind("figure of ablations", part("tables/figure_ablations.toml"), partial(read_figure, "ablations"), "toml"),
]


@damaging(KINDS)
def test_damaged_files_are_read_or_refused(kind: Kind, numbers: range, tmp_path: Path) -> None:
    fuzz(kind, tmp_path, numbers)
