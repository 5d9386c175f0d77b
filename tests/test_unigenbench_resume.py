"""Judgements survive a kill, and are the same whatever order and number of threads made them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from judge_items import is_honest, item, items, judged, lines, options, picture
from judge_server import Fault, JudgeServer, honest, judging

from agsm_bench.errors import MissingError, UserError
from agsm_bench.unigenbench.endpoint import KEYS
from agsm_bench.unigenbench.judge import PHASE, judge_images
from agsm_bench.unigenbench.judgements import FILE, JudgementStore

CHILD = """
import sys
from pathlib import Path
from judge_items import items, judged
judged(Path(sys.argv[1]), sys.argv[2], items(12), judge_concurrency=2)
"""


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    with judging(JudgeServer()) as judge:
        yield judge


def slow(judge: JudgeServer, count: int, delay: float) -> None:
    """Honest answers that take their time, once for every image."""
    for number in range(count):
        judge.faults[picture(number)] = [Fault(content=honest(picture(number), 3), delay=delay)]


def test_a_killed_process_is_gone_on_with(tmp_path: Path, judge: JudgeServer) -> None:
    judged(tmp_path / "whole", judge.url, items(12))
    judge.answered.clear()
    slow(judge, 12, 0.2)
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", CHILD, str(tmp_path / "killed"), judge.url]
    child = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths})
    end = time.monotonic() + 60
    while not ((tmp_path / "killed" / FILE).exists() and len(lines(tmp_path / "killed")) >= 3):
        assert time.monotonic() < end
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = {line["sample_id"] for line in lines(tmp_path / "killed")}
    with (tmp_path / "killed" / FILE).open("a") as stream:
        stream.write('{"sample_id": "00')
    time.sleep(0.3)
    judge.faults.clear()
    judge.answered.clear()
    judged(tmp_path / "killed", judge.url, items(12))
    assert judge.answered == {picture(n): 1 for n in range(12) if item(n).sample_id not in kept}
    assert (tmp_path / "killed" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()


def test_ctrl_c_keeps_the_answers_under_way(tmp_path: Path, judge: JudgeServer) -> None:
    slow(judge, 12, 0.2)

    def progress(what: str, done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with JudgementStore.open(tmp_path) as store, pytest.raises(KeyboardInterrupt):
        judge_images(items(12), store, options(judge.url, judge_concurrency=3), progress)
    kept = len(lines(tmp_path))
    assert 4 <= kept < 12
    assert sum(judge.answered.values()) == kept
    assert all(is_honest(line, number) for number, line in enumerate(judged(tmp_path, judge.url, items(12))))
    assert set(judge.answered.values()) == {1}


def test_ctrl_c_does_not_wait_for_retries(tmp_path: Path, judge: JudgeServer) -> None:
    for number in range(1, 6):
        judge.faults[picture(number)] = [Fault(429, {"Retry-After": "500"}, body="")]

    def progress(what: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    images = [item(0), *items(7)[6:], *items(6)[1:]]
    with JudgementStore.open(tmp_path) as store, pytest.raises(KeyboardInterrupt):
        judge_images(images, store, options(judge.url), progress)
    assert all(line["failed"] is None for line in lines(tmp_path))


def test_neither_order_nor_threads_nor_faults_change_the_file(tmp_path: Path, judge: JudgeServer) -> None:
    slow(judge, 16, 0.03)
    judged(tmp_path / "eight", judge.url, items(16), judge_concurrency=8)
    assert 1 < judge.most <= 8
    judge.most = 0
    judge.faults = {picture(n): [Fault(500, body=""), Fault(cut=True)] for n in range(0, 16, 3)}
    judged(tmp_path / "one", judge.url, items(16)[::-1], judge_concurrency=1)
    assert judge.most == 1
    judged(tmp_path / "parts", judge.url, items(16)[5:9])
    judged(tmp_path / "parts", judge.url, items(16))
    files = {(tmp_path / name / FILE).read_bytes() for name in ("eight", "one", "parts")}
    assert len(files) == 1
    assert len(files.pop().splitlines()) == 16


def test_another_image_question_or_model_is_judged_anew(tmp_path: Path, judge: JudgeServer) -> None:
    judged(tmp_path, judge.url, items(1))
    other = replace(item(7), sample_id="00000/0000")
    for image, model in (
        (other, "judge"),
        (replace(item(0), prompt="Another."), "judge"),
        (replace(item(0), testpoints=item(0).testpoints[:2]), "judge"),
        (item(0), "another"),
    ):
        before = len(judge.bodies)
        judged(tmp_path, judge.url, [image], judge_model=model)
        judged(tmp_path, judge.url, [image], judge_model=model)
        assert len(judge.bodies) == before + 1
    assert len(lines(tmp_path)) == 5
    found = JudgementStore(tmp_path).verdicts([other.asked("judge")])
    assert found["00000/0000"].asked.image == other.sha256


def test_progress_counts_what_is_there_already(tmp_path: Path, judge: JudgeServer) -> None:
    judged(tmp_path, judge.url, items(2))
    told = []
    with JudgementStore.open(tmp_path) as store:
        judge_images(items(5), store, options(judge.url), lambda *step: told.append(step))
    assert told == [(PHASE, done, 5) for done in range(2, 6)]


def test_two_processes_do_not_judge_in_one_folder(tmp_path: Path) -> None:
    with (
        JudgementStore.open(tmp_path),
        pytest.raises(UserError, match="being written"),
        JudgementStore.open(tmp_path),
    ):
        pass


def test_a_store_that_is_read_is_not_written(tmp_path: Path, judge: JudgeServer) -> None:
    judged(tmp_path, judge.url, items(1))
    with pytest.raises(RuntimeError, match="not open"):
        JudgementStore(tmp_path).rewrite()


@pytest.mark.parametrize("line", ["{", "{}", '{"sample_id": "../x", "image": "", "model": "", "question": ""}'])
def test_a_damaged_line_is_named(tmp_path: Path, judge: JudgeServer, line: str) -> None:
    judged(tmp_path, judge.url, items(1))
    with (tmp_path / FILE).open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(MissingError, match="line 2 is damaged"):
        judged(tmp_path, judge.url, items(2))
