"""`agsm-bench view`: what it writes, what it refuses, and that nothing of a file becomes markup."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import math
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from paired_runs import make_pair, make_run, spread
from view_runs import EVIL, ODD, make_edits, make_kept, make_odd_run, make_photographs

from agsm_bench.report.files import results_dir
from agsm_bench.report.paired import compare
from agsm_bench.report.view.build import write_view
from agsm_bench.report.view.chunks import ROWS
from agsm_bench.report.view.curves import _ticks, panels_of
from agsm_bench.report.view.loading import load
from agsm_bench.report.view.numbers import tables_of
from agsm_bench.report.view.serve import server_of
from agsm_bench.store import Run

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_pair(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def view(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("view"), *pair)


def built(out: Path, *runs: Path) -> Path:
    write_view(runs, out, lambda *_: None)
    return out


def data(out: Path, kind: str, number: int = 0) -> Any:
    """What a data file says."""
    text = (out / "data" / f"{kind}-{number}.js").read_text("ascii")
    found = re.fullmatch(rf'agsmView\("{kind}",{number},(.*)\)\n', text)
    assert found
    return json.loads(found[1])


def tree(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def refused(result: tuple[int, str, str], code: int, *words: str) -> None:
    """One line with what to type next, no traceback."""
    assert result[0] == code, result
    lines = [line for line in result[2].splitlines() if line.startswith("agsm-bench: ")]
    assert len(lines) == 1
    assert "Traceback" not in result[2]
    for word in words:
        assert word in lines[0]


def test_the_page_needs_nothing_but_its_folder(view: Path) -> None:
    page = (view / "index.html").read_text()
    assert not re.search(r"javascript:|@import|\bstyle=|\son\w+=|<iframe|<form[^>]*action", page)
    assert set(re.findall(r"https?://[^\s\"']*", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", page)


def test_its_policy_allows_its_own_script_and_style_alone(view: Path) -> None:
    page = (view / "index.html").read_text()
    for tag in ("script", "style"):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page


def test_the_data_hold_every_sample_of_both_runs(pair: tuple[Path, Path], view: Path) -> None:
    index, scores = data(view, "index"), [Run.open(run).scores() for run in pair]
    assert index["ids"] == sorted(scores[0])
    for number, own in enumerate(scores):
        assert index["values"][number][0] == [own[key]["geneval/correct"].value for key in index["ids"]]
    rows = [row for number in range(math.ceil(len(index["ids"]) / ROWS)) for row in data(view, "rows", number)]
    assert len(rows) == len(index["ids"])
    for key, row in zip(index["ids"], rows, strict=True):
        png = base64.b64decode(row["runs"][1]["src"].partition("base64,")[2])
        assert png == Run.open(pair[1]).read_image(key)
        assert row["runs"][1].get("why", {}).get("0") == scores[1][key]["geneval/correct"].reason


def test_detections_are_those_of_the_run(pair: tuple[Path, Path], view: Path) -> None:
    lines = [json.loads(line) for line in (pair[0] / "detections.jsonl").read_text().splitlines()]
    boxes = data(view, "rows")[0]["runs"][0]["boxes"]
    assert [[b[0], b[1]] for b in boxes] == [[d["class"], d["color"]] for d in lines[0]["detections"]]
    assert boxes[0][3:] == pytest.approx(lines[0]["detections"][0]["box"], abs=0.01)


def test_numbers_are_those_of_the_summary_and_of_the_comparison(pair: tuple[Path, Path]) -> None:
    tables = {table.metric.name: table for table in tables_of(load(pair))}
    for number, run in enumerate(pair):
        metrics = json.loads((run / "summary.json").read_text())["metrics"]
        for name, key in {"geneval/correct": "geneval/mean", "shapes/too_few": "shapes/too_few"}.items():
            found = tables[name].total.values[number]
            assert found
            assert [found.value, found.low, found.high] == [metrics[key][each] for each in ("value", "low", "high")]
    [block, *_] = compare(*pair).blocks
    assert [row.differences[0] for row in tables["geneval/correct"].rows] == [line.difference for line in block.lines]


def test_a_killed_build_goes_on_and_comes_out_the_same(tmp_path: Path) -> None:
    run, out = make_photographs(tmp_path / "run", range(40), side=140), tmp_path / "out"

    def killed(phase: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_view([run], out, killed)
    made = {path: path.stat().st_mtime_ns for path in (out / "thumbs").rglob("*.webp")}
    assert len(made) == ROWS
    assert not (out / "index.html").exists()
    assert tree(built(out, run)) == tree(built(tmp_path / "unbroken", run))
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_another_page_in_the_folder_leaves_nothing_of_the_old_one(pair: tuple[Path, Path], tmp_path: Path) -> None:
    built(tmp_path / "out", make_photographs(tmp_path / "run"))
    assert built(tmp_path / "out", *pair)
    assert not list((tmp_path / "out" / "thumbs").rglob("*.webp"))
    assert {path.name for path in (tmp_path / "out" / "data").iterdir()} == {"index-0.js", "rows-0.js", "rows-1.js"}


def test_a_photograph_is_a_thumbnail_with_the_size_of_the_image(tmp_path: Path) -> None:
    out = built(tmp_path / "out", make_photographs(tmp_path / "run", side=500))
    shot = data(out, "rows")[0]["runs"][0]
    assert (shot["w"], shot["h"]) == (500, 500)
    assert (out / shot["src"]).stat().st_size < 200_000


def test_an_absent_and_an_altered_image_are_said(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 1.0, prompts=spread(2))
    first, second = sorted((tmp_path / "run" / "images").rglob("*.png"))[:2]
    first.unlink()
    second.write_bytes(b"other")
    rows = data(built(tmp_path / "out", tmp_path / "run"), "rows")
    assert [row["runs"][0].get("absent") for row in rows[:3]] == ["the image is absent or altered"] * 2 + [None]


def test_edits_have_their_source_and_mask(tmp_path: Path) -> None:
    out = built(tmp_path / "out", make_edits(tmp_path / "run"))
    row = data(out, "rows")[0]
    assert row["given"]["src"] == row["runs"][0]["src"]
    assert row["given"]["mask"].startswith("data:image/png;base64,")
    assert row["given"]["text"] != data(out, "index")["texts"][0]


def test_nothing_of_a_file_becomes_markup(tmp_path: Path) -> None:
    runs = make_odd_run(tmp_path / "<b>base</b>"), make_odd_run(tmp_path / "other", label=EVIL)
    page = (built(tmp_path / "out", *runs) / "index.html").read_text()
    assert page.count("&lt;script&gt;") > 3
    assert "<script>document" not in page
    assert "<img" not in page
    assert "<b>" not in page
    assert f"{ODD}/0000" in data(tmp_path / "out", "index")["ids"]


def test_a_run_without_images_shows_its_numbers(cli: Cli, tmp_path: Path) -> None:
    runs = [results_dir() / "runs" / name for name in ("geneval-shapes-mmdit", "geneval-agsm-shapes-mmdit-0")]
    code, out, err = cli("view", *runs, "--out", tmp_path / "out")
    assert code == 0, err
    assert f"Page: {tmp_path / 'out' / 'index.html'}" in out
    page = (tmp_path / "out" / "index.html").read_text()
    assert "+0.5" in page
    assert page.count("<polyline") == 4, "the curves of the tokens beside the run"


def test_curves_are_of_the_very_tokens_of_a_run() -> None:
    run = results_dir() / "runs" / "geneval-agsm-shapes-mmdit-0"
    shown = load([run])
    assert panels_of(shown.runs)[0].title == "Training loss"
    shown = load([results_dir() / "runs" / "geneval-shapes-mmdit"])
    assert panels_of(shown.runs) == []


@pytest.mark.parametrize(("low", "high"), [(0, 600), (0.3572, 0.3582), (-1e-9, 1e-9), (5, 5), (0, 0), (-3, 1e6)])
def test_ticks_are_few_and_hold_the_values(low: float, high: float) -> None:
    ticks = _ticks(low, high)
    assert 2 <= len(ticks) <= 9
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert ticks[0] < ticks[-1]


def test_unfinished_runs_are_stamped(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 1.0, prompts=spread(2))
    (tmp_path / "run" / "summary.json").unlink()
    page = (built(tmp_path / "out", tmp_path / "run") / "index.html").read_text()
    assert "UNFINISHED: it has no summary yet." in page


def test_it_refuses_a_folder_with_other_files(cli: Cli, pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    refused(cli("view", *pair, "--out", tmp_path), 2, "mine.txt", "--out")
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt"}
    refused(cli("view", *pair, "--out", pair[0]), 2, "--out")
    refused(cli("view", *pair, "--out", tmp_path / "mine.txt"), 2, "no folder")
    out = built(tmp_path / "out", *pair)
    (out / "notes.md").write_text("mine")
    refused(cli("view", *pair, "--out", out), 2, "notes.md")
    assert (out / "index.html").exists()


def test_runs_that_do_not_belong_together_are_refused(cli: Cli, pair: tuple[Path, Path], tmp_path: Path) -> None:
    edits, photographs = make_edits(tmp_path / "edits"), make_photographs(tmp_path / "photographs")
    refused(cli("view", pair[0], edits, "--out", tmp_path / "out"), 2, "benchmark", "'geneval'", "'pie_bench'")
    refused(cli("view", pair[0], photographs, "--out", tmp_path / "out"), 2, "domain", "'shapes'", "'photo'")
    refused(cli("view", pair[0], pair[0], "--out", tmp_path / "out"), 2, "twice")
    assert not (tmp_path / "out").exists()


def test_damaged_and_empty_runs_are_one_line(cli: Cli, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    make_run(run, 1.0, prompts=spread(2))
    refused(cli("view", tmp_path / "nowhere", "--out", out), 3, "manifest.json")
    for name in ("summary.json", "manifest.json"):
        whole = (run / name).read_bytes()
        (run / name).write_bytes(whole[: len(whole) // 2])
        refused(cli("view", run, "--out", out), 3, name)
        (run / name).write_bytes(whole)
    for name in ("scores.jsonl", "samples.jsonl", "detections.jsonl"):
        whole = (run / name).read_bytes()
        (run / name).write_bytes(b'{"sample_id"\n' + whole)
        refused(cli("view", run, "--out", out), 3, name, "line 1")
        (run / name).write_bytes(whole)
    broken = {
        "detections.jsonl": ('"score": ', '"score": "x", "was": '),
        "scores.jsonl": ('"value": 1.0', '"value": "x"'),
    }
    for name, (old, new) in broken.items():
        text = (run / name).read_text()
        (run / name).write_text(text.replace(old, new))
        refused(cli("view", run, "--out", out), 3, name)
        (run / name).write_text(text)
    kept = make_kept(tmp_path / "kept", 1, 0.5)
    lines = (kept / "scores.csv").read_text().splitlines(keepends=True)
    (kept / "scores.csv").write_text("".join(lines[:100]))
    refused(cli("view", kept, "--out", out), 3, "scores.csv", "99 of 553")
    for name in ("summary.json", "scores.jsonl", "samples.jsonl"):
        (run / name).unlink()
    refused(cli("view", run, "--out", out), 3, "is empty")


def test_twenty_thousand_samples_are_a_small_index_and_many_small_files(tmp_path: Path) -> None:
    out = built(tmp_path / "out", *(make_kept(tmp_path / name, 37, right) for name, right in (("a", 0.7), ("b", 0.8))))
    sizes = {path.name: path.stat().st_size for path in (out / "data").iterdir()}
    assert sum(size for name, size in sizes.items() if name.startswith("index")) < 3_000_000
    assert max(size for name, size in sizes.items() if name.startswith("rows")) < 10_000
    assert (out / "index.html").stat().st_size < 120_000


def test_it_is_served_to_this_machine_alone(view: Path) -> None:
    with server_of(view, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        assert server.server_address[0] == "127.0.0.1"

        def get(path: str, host: str | None = None) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
            answer = connection.getresponse()
            return answer.status, answer.read()

        assert get("/")[0] == get("/data/index-0.js")[0] == 200
        (view.parent / "secret.txt").write_text("secret")
        (view / "link").symlink_to(view.parent / "secret.txt")
        for path in ("/data/", "/../secret.txt", "/%2e%2e/secret.txt", "/link", "/.lock", "/nothing"):
            assert get(path)[0] == 404, path
        (view / "link").unlink()
        assert get("/", "evil.example")[0] == 421
        assert get("/", f"evil.example:{port}")[0] == 421
        server.shutdown()


def test_a_port_in_use_is_said(cli: Cli, pair: tuple[Path, Path], tmp_path: Path) -> None:
    with server_of(tmp_path, 0) as server:
        port = server.server_address[1]
        refused(cli("view", *pair, "--out", tmp_path / "out", "--serve", "--port", port), 2, str(port), "--port")
