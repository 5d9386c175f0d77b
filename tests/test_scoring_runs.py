"""More metrics on a run that is there, and `metrics verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from paired_runs import make_run

from agsm_bench.scoring import verify
from agsm_bench.scoring.selection import choose
from agsm_bench.scoring.settings import PassSettings

BOTH = "psnr,shapes_clip/lpips"


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A base and another run of the same samples, half of its scenes others."""
    folders = tmp_path / "base", tmp_path / "other"
    for folder, share in zip(folders, (1.0, 0.5), strict=True):
        make_run(folder, share)
    return folders


def summary_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def lines_of(folder: Path) -> dict[tuple[str, str], str]:
    rows = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    return {(row["sample_id"], row["metric"]): json.dumps(row) for row in rows}


def test_a_metric_is_added_without_touching_the_rest(cli: Cli, runs: tuple[Path, Path]) -> None:
    base, other = runs
    assert cli("score", other)[0] == 0
    before, lines = summary_of(other), lines_of(other)
    code, out, err = cli("score", other, "--metrics", BOTH, "--references", base)
    assert code == 0, err
    after, now = summary_of(other), lines_of(other)
    assert {key: now[key] for key in lines} == lines
    assert {name: after["metrics"][name] for name in before["metrics"]} == before["metrics"]
    assert set(after["metrics"]) - set(before["metrics"]) == set(BOTH.split(","))
    assert after["metrics"]["shapes_clip/lpips"]["n"] == 48
    for label in ("shapes_clip/lpips ↓", "psnr ↑"):
        assert label in out
    assert cli("score", other)[0] == 0  # and a later one keeps it
    assert summary_of(other) == after


def test_equal_pictures_have_no_psnr_and_are_counted(cli: Cli, runs: tuple[Path, Path]) -> None:
    base, other = runs
    cli("score", other, "--metrics", "psnr", "--references", base)
    found = summary_of(other)["metrics"]["psnr"]
    assert (found["n"] + found["unscored"], found["unscored"] > 0) == (48, True)
    reasons = {json.loads(line)["reason"] for line in lines_of(other).values()}
    assert "the image equals its reference: PSNR is infinite" in reasons


def test_other_references_are_another_score(cli: Cli, runs: tuple[Path, Path], tmp_path: Path) -> None:
    base, other = runs
    third = tmp_path / "third"
    make_run(third, 0.5)
    for reference, value in ((base, False), (third, True), (base, False)):
        cli("score", other, "--metrics", "mse", "--references", reference)
        assert (summary_of(other)["metrics"]["mse"]["value"] == 0) == value


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--metrics", "psnr"), "psnr compares each image with a reference. Add --references DIR"),
        (("--metrics", "fid/clean"), "fid/clean needs inception-2015-12-05.pt, which is not on this machine"),
        (("--metrics", "psnr", "--references", "elsewhere"), "elsewhere has no 00000/0000"),
        (("--metrics", "psnr", "--prompts", "x.csv"), "--prompts and --masks are for --images"),
        (("--metrics", "mse", "--weights", "clip/openai-l14=base"), "--weights names clip/openai-l14"),
        (("--metrics", "psnr", "--reference", "--references", "base"), "psnr has no upstream package"),
    ],
)
def test_refusals(
    cli: Cli, runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], word: str
) -> None:
    from PIL import Image

    monkeypatch.chdir(runs[0].parent)
    monkeypatch.setenv("TORCH_HOME", str(runs[0].parent))
    Path("elsewhere").mkdir()
    Image.new("RGB", (24, 24)).save("elsewhere/a.png")
    before = lines_of(runs[1])
    code, _, err = cli("score", "other", *arguments)
    assert (code in (2, 3), word in " ".join(err.split())) == (True, True), err
    assert lines_of(runs[1]) == before


def test_all_that_is_missing_is_said_at_once(cli: Cli, runs: tuple[Path, Path], tmp_path: Path) -> None:
    code, _, err = cli("score", runs[0], "--metrics", "pickscore/v1,clip/openai-l14,image_reward/v1.0")
    names, lines = ("pickscore/v1", "clip/openai-l14", "image_reward/v1.0"), err.splitlines()
    assert (code, lines[0]) == (3, "agsm-bench: Several things are missing.")
    assert len(lines) == 4, "a command a line, to be copied"
    for name in names:
        assert any(line.endswith(f" agsm-bench metrics get {name}") for line in lines)


def test_verify_finds_what_is_recorded(cli: Cli) -> None:
    code, out, err = cli("metrics", "verify", "shapes_clip/score", "psnr", "mse/unedited")
    assert (code, out.count(" ok ")) == (0, 3), out + err
    code, out, _ = cli("metrics", "verify", "hpsv2/v2.1")
    assert (code, "skipped" in out) == (3, True)


def test_verify_notices_another_value_and_another_version(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = json.loads(verify.EXPECTED.read_text())
    monkeypatch.setattr(verify, "EXPECTED", tmp_path / "expected.json")
    expected["psnr"]["values"][2] += 0.1
    expected["shapes_clip/score"]["version"] = "other"
    del expected["mse"]
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    code, out, err = cli("metrics", "verify", "psnr", "shapes_clip/score", "mse")
    assert code == 1
    assert "value 2 is" in out
    assert "recorded with other" in out
    assert "not recorded" in out
    assert "psnr, shapes_clip/score" in err
    cli("metrics", "verify", "--record", "psnr", "mse")
    code, out, _ = cli("metrics", "verify", "psnr", "mse")
    assert (code, out.count(" ok ")) == (0, 2)


def test_features_can_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    import brightness

    from agsm_bench.scoring import selection

    monkeypatch.setattr(selection, "image_metrics", lambda: {"bright": brightness.METRIC})
    (chosen,) = choose(["bright/features"])
    found = verify.values_of(chosen, "bright/features", PassSettings())
    assert len(found) == 4 * 3, "three features an image, each a block of its own"
    assert None not in found


def test_a_run_without_verdicts_has_its_other_metrics_and_is_not_complete(cli: Cli, runs: tuple[Path, Path]) -> None:
    base, other = runs
    for store in ("scores.jsonl", "summary.json", "results.jsonl", "detections.jsonl"):
        (other / store).unlink(missing_ok=True)
    code, out, err = cli("score", other, "--metrics", "mse", "--references", base)
    assert code == 0, err
    summary = summary_of(other)
    assert set(summary["metrics"]) - {"mse"} <= {"shapes_frechet"}
    assert (summary["complete"], summary["scored"]) == (False, 0)
    assert "mse ↓" in out
