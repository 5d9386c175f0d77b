"""The page of two runs: self-contained, escaped, fair, and the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from paired_runs import PROMPTS, TOKENS, make_pair, make_photo_run, make_run, spread, write_log

from agsm_bench.errors import MissingError, UserError
from agsm_bench.geneval import GenEval
from agsm_bench.report.paired import CORRECT
from agsm_bench.report.side_by_side import choose, write_page
from agsm_bench.store import Run
from agsm_bench.types import Score

EVIL = "<script>alert('1')</script>\" onload=\"x"


pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_pair(tmp_path_factory.mktemp("runs"))


def page_of(pair: tuple[Path, Path], out: Path, log: Path | None = None, title: str = "AGSM") -> str:
    return write_page(*pair, out / "deep" / "page.html", training_log=log, title=title).read_text()


def test_the_page_stands_alone(pair: tuple[Path, Path], tmp_path: Path) -> None:
    page = page_of(pair, tmp_path, write_log(tmp_path))
    assert len(page) < 3_000_000
    assert not re.search(r"<script|<link|javascript:|https?:|@import|\bstyle=|\bon\w+=", page)
    assert all(source.startswith("data:image/") for source in re.findall(r'(?:src|srcset)="([^"]*)', page))
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)', page))


def test_its_policy_allows_its_own_style_sheet_and_nothing_else(pair: tuple[Path, Path], tmp_path: Path) -> None:
    page = page_of(pair, tmp_path)
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'sha256-{digest}';" in page


def test_text_from_files_is_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = [replace(p, text=EVIL, requirement={**p.requirement, "prompt": EVIL}) for p in PROMPTS]
    base, other = tmp_path / "base", tmp_path / "other"
    monkeypatch.setattr(GenEval, "prompts", lambda self, domain: evil)
    monkeypatch.setattr("paired_runs.is_true", lambda text, scene: True)
    make_run(base, 1.0, prompts=evil[:2])
    make_run(other, 1.0, trainer=EVIL, prompts=evil[:2])
    with Run.reopen(other, {"command": EVIL, "started": EVIL}) as run:
        run.add_scores([Score("00000/0000", CORRECT, 0.0, EVIL)])
    page = page_of((base, other), tmp_path, title=EVIL)
    assert page.count("&lt;script&gt;") > 6
    assert "<script" not in page
    assert '" onload' not in page


def test_it_says_what_the_numbers_are_not(pair: tuple[Path, Path], tmp_path: Path) -> None:
    page = page_of(pair, tmp_path)
    assert "miniature shapes world" in page
    assert "nothing here is ImageReward" in page
    assert page.count("LIMITED RUN of 48 images") == 2
    assert "drawn from the same noise" in page
    assert "No training log was given." in page


def test_equal_runs_show_no_difference(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / name, 0.5, prompts=spread(12), guidance_scale=3.0 if name == "a" else 4.0)
    page = page_of((tmp_path / "a", tmp_path / "b"), tmp_path)
    assert page.count("No difference can be seen at this size.") == 2
    assert "better" not in re.sub(r"<style>.*?</style>|less is better", "", page, flags=re.DOTALL)


def test_a_single_prompt_makes_a_page_without_mean_and_interval(tmp_path: Path) -> None:
    page = page_of(make_pair(tmp_path, prompts=spread(1)), tmp_path)
    assert "There is no mean over the six tasks" in page
    assert not re.search(r"\bnan\b", re.sub(r'"data:[^"]*"', "", page))
    assert "unknown" in page


def test_wins_and_losses_alternate_and_agreement_keeps_room() -> None:
    def ids(first: int, count: int) -> list[str]:
        return [f"{i:05d}/0000" for i in range(first, first + count)]

    outcomes = {"won": ids(0, 9), "lost": ids(100, 1), "both right": ids(200, 9), "both wrong": ids(300, 9)}
    assert choose(outcomes) == [f"{i:05d}/0000" for i in (0, 100, 1, 2, 200, 300)]
    assert choose(outcomes | {"both right": [], "both wrong": []}) == [f"{i:05d}/0000" for i in (0, 100, 1, 2, 3, 4)]
    twice = ["00000/0000", "00000/0001", "00001/0000"]
    assert choose({outcome: [] for outcome in outcomes} | {"won": twice}) == [twice[0], twice[2], twice[1]]


def test_the_counts_are_of_all_samples(pair: tuple[Path, Path], tmp_path: Path) -> None:
    base, other = (Run.open(folder).scores() for folder in pair)
    won = sum(other[key][CORRECT].value == 1 and base[key][CORRECT].value == 0 for key in base)
    assert f"is right on <strong>{won}</strong> (won)" in page_of(pair, tmp_path)


def test_the_training_log_is_drawn_with_its_command(pair: tuple[Path, Path], tmp_path: Path) -> None:
    log = write_log(tmp_path)
    config = {"training": TOKENS | {"backbone": "shapes-mmdit"}, "provenance": {"command": "agsm-bench train agsm"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    page = page_of(pair, tmp_path, log)
    assert page.count("data:image/svg+xml") == 2 * 4
    assert "agsm-bench train agsm" in page


def test_a_log_without_validation_has_one_curve(pair: tuple[Path, Path], tmp_path: Path) -> None:
    page = page_of(pair, tmp_path, write_log(tmp_path, steps=5))
    assert page.count("data:image/svg+xml") == 2


def test_a_log_of_other_tokens_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    log = write_log(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"training": TOKENS | {"seed": 7}}))
    with pytest.raises(UserError, match=r"not of the tokens in .*: seed"):
        page_of(pair, tmp_path, log)
    with pytest.raises(UserError, match="not of the tokens"):
        page_of((pair[1], pair[0]), tmp_path, log)
    with pytest.raises(MissingError, match=r"no .*train\.jsonl"):
        page_of(pair, tmp_path, tmp_path / "none" / "train.jsonl")


def test_an_altered_image_is_refused(tmp_path: Path) -> None:
    base, other = make_pair(tmp_path, prompts=spread(1))
    for path in other.glob("images/*/samples/*.png"):
        path.write_bytes(b"altered")
    with pytest.raises(MissingError, match="altered"):
        page_of((base, other), tmp_path)


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}"])
def test_damaged_metadata_is_refused(tmp_path: Path, damage: str) -> None:
    base, other = make_pair(tmp_path, prompts=spread(1))
    for path in other.glob("images/*/metadata.jsonl"):
        path.write_text(damage)
    with pytest.raises(MissingError, match="damaged"):
        page_of((base, other), tmp_path)


def test_photographs_become_thumbnails(tmp_path: Path) -> None:
    make_photo_run(tmp_path / "base")
    make_photo_run(tmp_path / "other", tokens="t" * 64)
    page = page_of((tmp_path / "base", tmp_path / "other"), tmp_path)
    assert page.count('src="data:image/jpeg') == 2
    assert "miniature" not in page
    assert 'class="pixelated"' not in page


def test_another_process_writes_the_same_bytes_without_torch(pair: tuple[Path, Path], tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from agsm_bench.report.side_by_side import write_page;"
        "base, other, log, out = map(Path, sys.argv[1:]); write_page(base, other, out, training_log=log, title='AGSM');"
        "assert 'torch' not in sys.modules"
    )
    log, out = write_log(tmp_path), tmp_path / "page.html"
    arguments = [sys.executable, "-c", code, *map(str, (*pair, log, out))]
    subprocess.run(arguments, check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert out.read_text() == page_of(pair, tmp_path, log)
