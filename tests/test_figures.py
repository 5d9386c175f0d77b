"""All figures by name: pictures, data, and what is said where runs or sense are missing."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import Cli
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from PIL import Image

from agsm_bench.report import figure_files, figures, labels
from agsm_bench.report.drawing import LOOKS, PT, WIDTH, sheet
from agsm_bench.report.points import record
from agsm_bench.report.runs import Run, find_runs
from agsm_bench.report.tables import join

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A results folder without a run."""
    (tmp_path / "results").mkdir()
    for name in ("tables", "paper"):
        (tmp_path / "results" / name).symlink_to(ROOT / "results" / name)
    monkeypatch.setenv("AGSM_BENCH_RESULTS", str(tmp_path / "results"))


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return find_runs()


def test_geneval_bars_are_table_1s_cells(runs: list[Run]) -> None:
    points = figures.load("geneval").points(runs)
    section = join(1, "shapes", runs).sections[1]
    assert section.measured is not None
    rows = {row.key: row for row in section.measured.rows}
    keys = {"shapes-mmdit": ("sd3", "softrepa", "ours"), "shapes-unet": ("unet", "unet-softrepa", "unet-agsm")}
    for group, expected in keys.items():
        for series, key in zip(("no tokens", "SoftREPA", "AGSM"), expected, strict=True):
            for point in points:
                if (point.group, point.series) == (group, series):
                    cell = rows[key].cells[str(point.x.value)]
                    assert (point.y.value, point.y.low, point.y.high) == (cell.value, cell.low, cell.high)
                    assert (point.runs, point.images, point.interval) == (cell.runs, cell.n, cell.interval)
    printed = {row.key: row.values for row in section.published.rows}
    published = {(p.series, str(p.x.value)): p.y.value for p in points if p.source == "published"}
    assert published[("AGSM", "counting")] == float(printed["ours"]["counting"]) == 0.64
    assert len(published) == 5 * 7


def test_ablation_points_are_cells_of_their_tables(runs: list[Run]) -> None:
    points = figures.load("ablations").points(runs)
    found = {(p.panel, p.series, p.x.value): p for p in points}
    measured = join(6, "shapes", runs).sections[0].measured
    assert measured is not None
    cells = {row.key: row.cells["strict_mean"] for row in measured.rows}
    panel = "Table 6, Scene accuracy (%) ↑"
    for x in ("0", "0.05", "0.1", "0.5", "1"):
        assert found[panel, "AGSM", x].y.value == cells[f"gamma-{x}"].value
        assert found[panel, "no tokens", x].y.low == cells["base"].low
    assert found["Table 13, FID ↓", "AGSM", "64"].y.value == 26.64
    assert found["Table 6, ImageReward ↑", "no tokens", "1"].y.value == 94.27


@pytest.mark.parametrize("name", figure_files.NAMES)
def test_recipes_are_those_of_the_missing_points(name: str, empty: None) -> None:
    figure = figures.load(name)
    lacking = {point.command for point in figure.points([]) if point.missing}
    assert len(set(figure.recipes)) == len(lacking - {""}) > 0
    assert all(command.startswith("agsm-bench ") for command in lacking)


@pytest.mark.parametrize("name", figure_files.NAMES)
def test_without_runs_the_text_says_what_to_type(name: str, empty: None, cli: Cli) -> None:
    code, out, _ = cli("report", "--figure", name)
    assert (code, f"To measure: {figures.load(name).fill}" in out) == (0, True), out


def test_without_runs_all_are_drawn_and_every_measured_point_has_its_command(empty: None) -> None:
    made = figures.draw_all(Path("all"), [])
    assert len(made) == 4 * len(figure_files.NAMES)
    assert all(path.stat().st_size > 1000 for path in made)
    for path in made:
        if path.suffix == ".json":
            points = json.loads(path.read_text(encoding="utf-8"))["points"]
            assert all(each["y"] is None and each["command"] for each in points if each["source"] == "measured")


def test_a_folder_gets_every_form(empty: None, cli: Cli) -> None:
    assert cli("report", "--figure", "geneval", "--out", "new/folder")[0] == 0
    made = {path.name for path in Path("new/folder").iterdir()}
    assert made == {f"figure_geneval.{suffix}" for suffix in ("png", "svg", "csv", "json")}


@pytest.mark.parametrize("name", figure_files.NAMES)
def test_csv_and_json_hold_every_point(name: str, runs: list[Run]) -> None:
    figure = figures.load(name)
    points = figure.points(runs)
    assert not [point.series for point in points if point.series not in LOOKS]
    rows = list(csv.DictReader(io.StringIO(figures.as_text(name, figure, points, "csv"))))
    objects = json.loads(figures.as_text(name, figure, points, "json"))["points"]
    assert objects == [record(point) for point in points]
    assert rows == [{key: "" if value is None else str(value) for key, value in each.items()} for each in objects]


@pytest.mark.parametrize(("name", "suffix"), [("4", ".svg"), ("geneval", ".png")])
def test_pictures_are_the_same_every_time_and_of_print_size(name: str, suffix: str, runs: list[Run]) -> None:
    figure = figures.load(name)
    points, made = figure.points(runs), [Path(f"{number}{suffix}") for number in range(2)]
    for path in made:
        figure.draw(points, path)
    assert made[0].read_bytes() == made[1].read_bytes()
    if suffix == ".png":
        with Image.open(made[0]) as image:
            assert image.width == round(300 * WIDTH)
    if suffix == ".svg":
        assert ET.parse(made[0]).getroot().attrib["width"] == f"{72 * WIDTH:g}pt"


@pytest.mark.parametrize("name", figure_files.NAMES)
def test_letters_are_large_enough_and_names_do_not_overlap(
    name: str, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is cut off at the sides."""
    seen = []

    def look(sheet: Figure, *arguments: object, **options: object) -> None:
        sheet.draw_without_rendering()
        texts = [text for text in sheet.findobj(Text) if text.get_visible() and text.get_text().strip()]
        boxes = {text: Text.get_window_extent(text) for text in texts}
        assert min(text.get_fontsize() for text in texts) >= PT
        ticks = {text for axes in sheet.axes for text in (*axes.get_xticklabels(), *axes.get_yticklabels())}
        sides = [x for text, box in boxes.items() if text not in ticks for x in (box.x0, box.x1)]
        assert all(sheet.bbox.containsx(x) for x in sides)
        names = [box for text, box in boxes.items() if isinstance(text, Annotation)]
        assert not [box for number, box in enumerate(names) for other in names[:number] if box.overlaps(other)]
        seen.append(len(names))

    monkeypatch.setattr(Figure, "savefig", look)
    figure = figures.load(name)
    points = figure.points(runs)
    figure.draw(points, Path("x.png"))
    named = {
        (point.panel, point.source, point.group) for point in points if not point.missing and point.front is not None
    }
    assert seen == [len(named)]
    assert len(named) >= 3 + 7 + 7 or name != "5"


def test_names_avoid_points_and_each_other() -> None:
    with sheet(Path("x.png"), "names", 3) as figure:
        axes = figure.subplots()
        places = [(0.0, 0.0), (0.01, 0.0), (0.0, 0.01), (1.0, 1.0)]
        axes.plot(*zip(*places, strict=True), "o")
        figure.draw_without_rendering()
        named = {f"point {number}": place for number, place in enumerate(places)}
        made = labels.annotate(axes, named, places, [])
        figure.draw_without_rendering()
        boxes = [Text.get_window_extent(text) for text in made]
        dots = axes.transData.transform(places)
        assert not any(box.contains(*dot) for box in boxes for dot in dots)
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert all(axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) for box in boxes)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--figure", "6"], 2, "No runs make Figure 6. Figures that runs make: 4, 5, geneval, ablations."),
        (["--figure", "4", "--table", "1"], 2, "--table N, --figure NAME and --all"),
        ([], 2, "--figure N"),
        (["--figure", "4", "--out", "four.doc"], 2, "no kind of picture"),
        (["--figure", "4", "--format", "md"], 2, "no md form"),
        (["--figure", "4", "--format", "csv", "--out", "four.png"], 2, "is a picture, not csv"),
        (["--figure", "5", "--domain", "photo"], 2, "--domain shapes"),
        (["--figure", "geneval", "--out", "absent/bars.png"], 2, "cannot be written"),
        (["--figure", "geneval", "--out", "absent/bars.csv"], 2, "cannot be written"),
        (["--figure", "geneval", "--out", "file/folder"], 2, "cannot be written"),
    ],
)
def test_wrong_calls_are_one_line(arguments: list[str], code: int, word: str, cli: Cli) -> None:
    Path("file").write_text("")
    found, out, err = cli("report", *arguments)
    assert (found, out) == (code, "")
    assert word in err
    assert "Traceback" not in err


def test_data_goes_to_files_by_their_suffix(empty: None, cli: Cli) -> None:
    for arguments in (["--out", "a.csv"], ["--format", "csv", "--out", "b.txt"]):
        assert cli("report", "--figure", "geneval", *arguments)[0] == 0
    assert Path("a.csv").read_text(encoding="utf-8") == Path("b.txt").read_text(encoding="utf-8")
    assert cli("report", "--figure", "geneval", "--format", "csv")[1] == Path("a.csv").read_text(encoding="utf-8")


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    tables = tmp_path / "own" / "tables"
    tables.mkdir(parents=True)
    for source in (ROOT / "results" / "tables").iterdir():
        (tables / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "own" / "paper").symlink_to(ROOT / "results" / "paper")
    text = (tables / "figure_geneval.toml").read_text(encoding="utf-8")
    (tables / "figure_geneval.toml").write_text(re.sub('AGSM = "ours"', 'AGSM = "nobody"', text), encoding="utf-8")
    monkeypatch.setenv("AGSM_BENCH_RESULTS", str(tmp_path / "own"))
    code, _, err = cli("report", "--figure", "geneval")
    assert (code, "figure_geneval.toml" in err) == (3, True), err


def test_list_names_them(cli: Cli) -> None:
    code, out, _ = cli("list", "figures")
    assert (code, [line.split()[0] for line in out.splitlines()]) == (0, list(figure_files.NAMES))


def test_reproduce_knows_them_by_the_same_names(cli: Cli) -> None:
    code, out, _ = cli("reproduce", "--figure", "geneval", "--seeds", 1, "--dry-run")
    assert (code, "Fgeneval" in out) == (0, True), out
    code, _, err = cli("reproduce", "--figure", "6", "--dry-run")
    assert (code, "Figures that runs make: 4, 5, geneval, ablations." in err) == (2, True), err
