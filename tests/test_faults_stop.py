"""Ctrl-C and a scheduler's signals: a command ends by 128 and the signal, says how to go on, and leaves no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from kill_points import Point, environment
from kill_scenes import GENERATE, SMALL, TRAIN, Scene, Scenes, difference, tree, working
from test_reproduce import one_row

from agsm_bench.training.log import LOG_FILE
from agsm_bench.training.state import STATE_FILE, stored_step

GO_ON = "Run the same command to go on."
SLOW = pytest.mark.slow
AT_ONCE = {"agsm_bench.stopping:SAME": 0}
"""Two signals are two, however near."""


def goes_on(scene: Scene, folder: Path) -> None:
    """Called again the command ends as if nothing had been."""
    ended = scene.run(folder)
    assert ended.code == 0, ended.err
    assert scene.once or ended.out == scene.unbroken.ended.out
    assert not difference(tree(folder), scene.unbroken.tree)


def told(error: str, words: str = GO_ON) -> None:
    assert error.rstrip().endswith(words), error
    assert "Traceback" not in error
    assert "Exception" not in error


def change(scene: Scene, word: str, number: int) -> int:
    """Which change of the files is the n-th (from 0) of those with the word in their name."""
    return [n for n, line in enumerate(scene.unbroken.ended.notes.splitlines(), 1) if word in line][number]


@pytest.mark.parametrize(
    "name", ["SIGTERM", "SIGUSR1", pytest.param("SIGINT", marks=SLOW), pytest.param("SIGHUP", marks=SLOW)]
)
def test_a_training_keeps_the_step_that_it_is_at(scenes: Scenes, name: str) -> None:
    scene, number = scenes["unsaved"], getattr(signal, name)
    folder = scene.prepared(name)
    ended = scene.run(folder, Point(change(scene, LOG_FILE, 3), signal=number))
    assert ended.code == 128 + number
    told(ended.err, f"Interrupted; tokens keeps the first 3 steps. {GO_ON}")
    assert "Stopping after this step" in ended.err
    assert stored_step(folder / "tokens" / STATE_FILE) == 3
    if name == "SIGTERM":
        goes_on(scene, folder)


def test_a_signal_twice_is_one_and_a_second_one_ends_a_training_at_once(scenes: Scenes) -> None:
    """torchrun passes on what the terminal has sent to its processes, too."""
    scene = scenes["unsaved"]
    first = change(scene, LOG_FILE, 3)
    twice = Point(first, signal=signal.SIGINT), Point(first + 1, signal=signal.SIGINT)
    echo = scene.run(scene.prepared("echo"), *twice, **{"agsm_bench.stopping:SAME": 1000})
    assert "keeps the first 3 steps" in echo.err
    folder = scene.prepared("twice")
    ended = scene.run(folder, *twice, **AT_ONCE)
    assert ended.code == 130
    told(ended.err, f"Interrupted; tokens keeps the first 0 steps. {GO_ON}")
    goes_on(scene, folder)


@pytest.mark.parametrize("later", [0, pytest.param(1, marks=SLOW), pytest.param(2, marks=SLOW)])
def test_a_second_signal_while_a_training_is_saved(scenes: Scenes, later: int) -> None:
    scene = scenes["unsaved"]
    first, saved = change(scene, LOG_FILE, 3), change(scene, LOG_FILE, 5)
    folder = scene.prepared(f"saving-{later}")
    ended = scene.run(
        folder, Point(first, signal=signal.SIGTERM), Point(saved + later, signal=signal.SIGTERM), **AT_ONCE
    )
    assert ended.code == 143
    told(ended.err)
    goes_on(scene, folder)


@SLOW
def test_the_last_of_several_signals_ends_at_once(scenes: Scenes) -> None:
    scene = scenes["unsaved"]
    first, folder = change(scene, LOG_FILE, 3), scene.prepared("thrice")
    ended = scene.run(folder, *(Point(first + n, signal=signal.SIGINT) for n in range(3)), **AT_ONCE)
    assert ended.code == 130
    told(ended.err)
    goes_on(scene, folder)


def interrupted(scene: Scene, count: int, seed: str) -> None:
    """A signal at random changes, each in a run of its own, which then goes on."""
    random = Random(seed)
    for n in range(count):
        number = random.choice((signal.SIGINT, signal.SIGTERM))
        point = Point(random.randint(1, scene.unbroken.ended.changes - 1), signal=number)
        folder = scene.prepared(f"interrupted-{n}-of-{count}")
        ended = scene.run(folder, point)
        if ended.code:  # else it was at its last step
            assert ended.code == 128 + number, (point, ended.err)
            told(ended.err)
        goes_on(scene, folder)


@pytest.mark.parametrize("name", ["generate", "encode"])
def test_an_interrupted_command_says_how_to_go_on(scenes: Scenes, name: str) -> None:
    interrupted(scenes[name], 1, name)


@SLOW
@pytest.mark.parametrize("name", ["train", "generate", "score", "metrics", "get", "encode"])
def test_a_command_interrupted_anywhere_says_how_to_go_on(scenes: Scenes, name: str) -> None:
    interrupted(scenes[name], 10, f"{name} 10")


def typed(folder: Path, *arguments: object, points: tuple[Point, ...] = ()) -> subprocess.Popen[str]:
    """A command started as usual, in a process group of its own; with little to do, but for its start."""
    small = {} if points else SMALL
    settings = os.environ | {"OMP_NUM_THREADS": "1"} | environment(folder, points, **small)
    command = [sys.executable, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=settings, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def run_interrupted(folder: Path, module: str, *arguments: object) -> tuple[int, str]:
    process = typed(folder, "-m", "agsm_bench", *arguments, points=(Point(imported=module, signal=signal.SIGINT),))
    return process.wait(timeout=600), process.communicate()[1]


@pytest.mark.parametrize("module", ["typer", "agsm_bench.report.tables"])
def test_interrupted_while_it_starts(tmp_path: Path, module: str) -> None:
    assert run_interrupted(tmp_path, module, "report", "--table", 1) == (130, f"agsm-bench: Interrupted. {GO_ON}\n")


@SLOW
@pytest.mark.parametrize(
    "module", ["torch", "torch._C", "numpy", "torch.nn", "diffusers", "transformers", "accelerate"]
)
def test_interrupted_while_it_imports_much(tmp_path: Path, module: str) -> None:
    code, error = run_interrupted(tmp_path, module, *TRAIN)
    assert code == 130
    told(error)
    assert len(error.splitlines()) == 1


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "agsm_bench")
TOGETHER = (*TRAIN, "--steps", 60, "--save-every", 100, "--accumulate", 2)


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not happened():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


@SLOW
@pytest.mark.parametrize("everyone", [True, False], ids=["srun", "batch"])
def test_a_training_of_several_processes_is_saved_by_all(scenes: Scenes, tmp_path: Path, everyone: bool) -> None:
    """SLURM signals all processes of a step, or torchrun alone, which passes it on; then one goes on alone."""
    process = typed(tmp_path, *TORCHRUN, *TOGETHER)
    log = tmp_path / "tokens" / LOG_FILE
    wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") >= 2, process)
    (os.killpg if everyone else os.kill)(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=300)
    done = stored_step(tmp_path / "tokens" / STATE_FILE)
    assert 2 <= done < 60
    assert error.count(f"Interrupted; tokens keeps the first {done} steps. {GO_ON}") == 2
    assert not working(tmp_path)
    scene = Scene(scenes["train"].warm, tmp_path, (*TOGETHER, "--steps", done + 1))
    assert scene.run(tmp_path).code == 0
    assert not difference(tree(tmp_path / "tokens"), tree(scene.unbroken.folder / "tokens") | told_apart(tmp_path))


def told_apart(folder: Path) -> dict[str, object]:
    """The note of the processes' number differs."""
    return {"config.json": tree(folder / "tokens")["config.json"]}


@SLOW
def test_an_evaluation_of_several_processes_goes_on(scenes: Scenes, tmp_path: Path) -> None:
    process = typed(tmp_path, *TORCHRUN, *GENERATE, "--steps", 20)
    wait_for(lambda: len([*tmp_path.rglob("*.png")]) > 1, process)
    os.killpg(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=300)
    assert GO_ON in error
    assert not working(tmp_path)
    scene = Scene(scenes["train"].warm, tmp_path, (*GENERATE, "--steps", 20))
    assert scene.run(tmp_path).code == 0
    assert not difference(
        tree(tmp_path / "run"),
        tree(scene.unbroken.folder / "run") | {"manifest.json": tree(tmp_path / "run")["manifest.json"]},
    )


@SLOW
@pytest.mark.parametrize("everyone", [True, False], ids=["terminal", "batch"])
def test_reproduce_ends_with_its_jobs(project: Path, everyone: bool) -> None:
    """Ctrl-C reaches the jobs, too; SIGTERM of a batch script only the call: either way a training saves its step."""
    one_row(project)
    quick = ("--quick", "--quick-steps", 100, "--quick-prompts", 6, "--quick-images", 1, "--out", "runs")
    process = typed(project, "-m", "agsm_bench", "reproduce", "--table", 4, *quick)
    folder = project / "runs" / "quick-100-6x1" / "agsm-shapes-mmdit-steps-100-0"
    log = folder / LOG_FILE
    wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") >= 2, process)
    number = signal.SIGINT if everyone else signal.SIGTERM
    (os.killpg if everyone else os.kill)(process.pid, number)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    told(error)
    assert not working(project)
    assert 2 <= stored_step(folder / STATE_FILE) < 100
