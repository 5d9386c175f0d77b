"""`agsm-bench report`: what each format says, and how it refuses."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from report_runs import measured, summary, table_one, write
from typer.testing import CliRunner

from agsm_bench.cli.report import report
from agsm_bench.errors import ExitCode, MissingError, UserError
from agsm_bench.report.render import to_csv, to_json, to_markdown
from agsm_bench.report.runs import find_runs
from agsm_bench.report.tables import join, load_paper

pytestmark = pytest.mark.usefixtures("project")


def invoke(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(report)
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 12, 13])
def test_nothing_measured_on_shapes_has_the_name_of_a_photo_metric(number: int) -> None:
    section = join(number, "shapes", []).sections[0]
    assert section.measured is not None
    names = {word for column in section.measured.columns for word in (column.key, column.label)}
    assert not names & {word for column in section.published.columns for word in (column.key, column.label)}
    assert "Not measured on shapes: ImageReward, PickScore, CLIP, HPSv2, FID." in to_markdown(
        join(number, "shapes", [])
    )


def test_other_domains_and_benchmarks_stay_out() -> None:
    write("photo", summary(0.9, run={"domain": "photo", "identity": "p"}))
    write("coco", summary(0.9, run={"benchmark": "coco_val5k", "identity": "c"}))
    assert not any(row.cells for row in measured().rows)
    photo = join(1, "photo", find_runs()).sections[1].measured
    assert photo is not None
    assert not any(row.runs for row in photo.rows)


def test_an_unscored_metric_is_a_dash_and_not_zero() -> None:
    data = summary(0.6)
    data["metrics"]["geneval/counting"]["value"] = None
    write("base", data)
    assert "counting" not in measured().rows[0].cells
    assert "| - |" in to_markdown(table_one()).split("### Measured")[1].splitlines()[4]


def test_columns_that_are_added_to_runs_show_where_one_has_them() -> None:
    write("base", summary(0.6))
    assert "PSNR to base" not in to_markdown(table_one())
    data = summary(0.7, "agsm", warnings=["fid/clean: 48 for 2048 features: the distance is much too large."])
    data["metrics"]["psnr"] = data["metrics"]["geneval/mean"] | {"value": 18.2, "low": 18.0, "high": 18.4}
    write("agsm", data)
    text = to_markdown(table_one())
    assert "PSNR to base" in text
    assert "18.20" in text
    assert "agsm: fid/clean: 48 for 2048 features" in text


def test_empty_rows_say_what_to_type() -> None:
    text = to_markdown(table_one())
    assert "agsm-bench eval geneval --backbone shapes-mmdit\n" in text
    assert (
        "agsm-bench train agsm --backbone shapes-mmdit --out runs/agsm-mmdit && "
        "agsm-bench eval geneval --backbone shapes-mmdit --tokens runs/agsm-mmdit\n"
    ) in text


def test_csv_round_trips_and_keeps_published_and_measured_apart() -> None:
    write("agsm", summary(0.123456789, "agsm"))
    records = list(csv.DictReader(io.StringIO(to_csv(table_one()))))
    cells = {(r["section"], r["row"], r["column"]): r for r in records}
    assert len(cells) == len(records)
    ours = cells["geneval", "ours", "counting"]
    assert (ours["published"], ours["mark"], float(ours["measured"])) == ("0.64", "underline", 0.123456789)
    assert (ours["domain"], ours["interval"], ours["runs"]) == ("shapes", "bootstrap95", "1")
    assert cells["geneval", "ours", "too_many"]["published"] == ""
    assert cells["geneval", "unet", "mean"]["measured"] == ""
    for section in load_paper(1).sections:
        for row in section.rows:
            assert all(cells[section.key, row.key, k]["published"] == v for k, v in row.values.items())


def test_json_holds_every_value() -> None:
    write("agsm", summary(0.123456789, "agsm"))
    data = json.loads(to_json(table_one()))
    coco, geneval = data["sections"]
    assert not any(row["cells"] for row in coco["measured"]["rows"])
    assert coco["published"]["rows"][1]["values"]["image_reward"] == "34.50"
    ours = next(row for row in geneval["measured"]["rows"] if row["key"] == "ours")
    assert ours["cells"]["mean"]["value"] == 0.123456789
    assert [(run["name"], run["identity"]) for run in ours["runs"]] == [("agsm", "agsm-0-0.123456789")]


def test_every_measured_column_names_its_domain() -> None:
    write("base", summary(0.6))
    heading = to_markdown(table_one()).split("### Measured on shapes")[2].splitlines()[2]
    assert heading.count("(measured on shapes)") == len(measured().columns)


@pytest.mark.parametrize("number", range(1, 14))
@pytest.mark.parametrize("form", ["rich", "md", "csv", "json"])
def test_every_table_prints_in_every_format(number: int, form: str) -> None:
    result = invoke("--table", str(number), "--format", form)
    assert result.exit_code == 0, result.output
    first = load_paper(number).sections[0].rows[0]
    assert all(value in result.stdout for value in first.values.values())


def test_the_terminal_shows_values_commands_and_no_cut_text() -> None:
    write("agsm", summary(0.61, "agsm"))
    text = invoke("--table", "1").stdout
    assert "0.590–0.630" in text
    assert "…" not in text
    assert "--backbone shapes-unet --tokens runs/agsm-unet\n" in text
    assert "--gamma-negative 0.05 --out runs/agsm-mmdit-gamma_negative-0.05 " in invoke("--table", "6").stdout


@pytest.mark.parametrize("form", ["rich", "md", "csv", "json"])
def test_out_writes_what_is_printed(form: str) -> None:
    printed = invoke("--table", "4", "--format", form).stdout
    assert invoke("--table", "4", "--format", form, "--out", "out.txt").stdout == ""
    assert Path("out.txt").read_text(encoding="utf-8") == printed


def test_given_run_folders_enter(project: Path) -> None:
    folder = write("mine", summary(0.61), project / "elsewhere")
    assert "0.590–0.630" in invoke("--table", "1", "--runs", str(folder)).stdout


@pytest.mark.parametrize("number", [0, 14, -1])
def test_an_unknown_table_is_a_usage_error_that_names_the_range(number: int) -> None:
    error = invoke("--table", str(number)).exception
    assert isinstance(error, UserError)
    assert error.code is ExitCode.USAGE
    assert "1..13" in str(error)


def test_an_unwritable_out_is_a_usage_error() -> None:
    error = invoke("--table", "1", "--format", "md", "--out", "absent/out.md").exception
    assert isinstance(error, UserError)
    assert str(Path("absent/out.md")) in str(error)


def damaged() -> list[str]:
    ok = summary(0.6)
    nan = json.dumps(ok).replace("0.6,", "NaN,")
    return ["{", "[]", "null", json.dumps(ok | {"schema": 2}), json.dumps({"schema": 1}), nan]


@pytest.mark.parametrize("text", damaged())
def test_a_damaged_summary_is_named(text: str) -> None:
    path = write("bad", {}) / "summary.json"
    path.write_text(text, encoding="utf-8")
    error = invoke("--table", "1").exception
    assert isinstance(error, MissingError)
    assert error.code is ExitCode.MISSING
    assert str(path) in str(error)


@pytest.mark.parametrize("name", ["paper/table_01.json", "tables/table_01.toml", "tables/columns.toml"])
def test_a_damaged_table_is_named(project: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    results = project / "broken"
    for source in ("paper/table_01.json", "tables/table_01.toml", "tables/columns.toml"):
        (results / source).parent.mkdir(parents=True, exist_ok=True)
        (results / source).write_bytes((project / "results" / source).read_bytes())
    (results / name).write_text("nonsense", encoding="utf-8")
    monkeypatch.setenv("AGSM_BENCH_RESULTS", str(results))
    with pytest.raises(MissingError, match=Path(name).name):
        table_one()


def test_a_folder_without_a_summary_is_missing(project: Path) -> None:
    with pytest.raises(MissingError, match="no summary"):
        find_runs([project])


def test_report_imports_neither_torch_nor_pandas_nor_rich() -> None:
    code = (
        "import sys, agsm_bench.report.tables, agsm_bench.report.render; print([*sys.modules]);"
        "import agsm_bench.cli.report; print([*sys.modules])"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    library, command = lines.splitlines()
    assert not any(f"'{name}'" in command for name in ("torch", "pandas", "diffusers", "transformers"))
    assert "'rich'" not in library
