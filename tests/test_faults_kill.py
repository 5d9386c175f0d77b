"""Killed anywhere and called again, a command ends with what an unbroken one leaves, byte for byte.

Kills come before a change of the files, in the middle of a write, or after a random time, also several in a row; what
the slow tests do at 25 points of each command, the quick ones do at one.
"""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from kill_points import Point, environment, points
from kill_scenes import SMALL, Scene, Scenes, difference, tree, working
from test_reproduce import one_row


def survives(scene: Scene, deaths: int, seed: str) -> None:
    """Kills the command so often, mostly once before it is called again and compared."""
    random, unbroken = Random(seed), scene.unbroken
    drawn = points(random, unbroken.ended.changes, unbroken.seconds)
    killed = rounds = 0
    while killed < deaths:
        folder, story = scene.prepared(f"killed-{rounds}-of-{deaths}"), list[str]()
        rounds, going = rounds + 1, True
        while going:
            point = next(drawn)
            ended = scene.run(folder, point)
            assert ended.killed or ended.code == 0, (point, ended.err)
            killed += ended.killed
            story.append(f"{point}: {ended.code} after {ended.notes.splitlines()[-1:]}")
            going = ended.killed and killed < deaths and random.random() < 0.4
        ended = scene.run(folder)
        assert ended.code == 0, (story, ended.err)
        assert scene.once or ended.out == unbroken.ended.out, story
        assert not difference(tree(folder), unbroken.tree), story


@pytest.mark.parametrize("name", ["train", "generate", "score", "get", "encode"])
def test_a_command_killed_once_ends_the_same(scenes: Scenes, name: str) -> None:
    survives(scenes[name], 1, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "generate", "score", "metrics", "get", "encode"])
def test_a_command_killed_at_25_points_ends_the_same(scenes: Scenes, name: str) -> None:
    survives(scenes[name], 25, f"{name} 25")


REPRODUCE = ("reproduce", "--table", 4, "--quick", "--quick-steps", 3, "--quick-prompts", 6, "--quick-images", 1)


@pytest.fixture
def reproducing(scenes: Scenes, project: Path) -> Scene:
    """A table of one row: a training and its evaluation, each a process of its own, with little to do."""
    one_row(project)
    home = project / "scenes"
    home.mkdir()
    settings = {"AGSM_BENCH_RESULTS": str(project / "results")} | environment(Path("/"), **SMALL)
    return Scene(scenes["train"].warm, home, (*REPRODUCE, "--out", "runs", "--jobs", 2), environment=settings)


def ended(folder: Path) -> bool:
    """Whether no process works in a folder, some seconds after its parent has ended."""
    deadline = time.monotonic() + 60
    while working(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not working(folder)


@pytest.mark.slow
def test_reproduce_killed_at_25_points_ends_with_the_table(reproducing: Scene) -> None:
    """The call itself at a random time; what it had started ends with it, and does not fight with the next call."""
    random, unbroken = Random("reproduce"), reproducing.unbroken
    folder, killed, ends = reproducing.prepared("killed-0"), 0, 0
    while killed < 25:
        point = Point(seconds=random.uniform(0.1, unbroken.seconds * 0.8), signal=signal.SIGALRM)
        result = reproducing.run(folder, point)
        killed += result.killed
        if not result.killed or random.random() < 0.3:
            result = reproducing.run(folder)
            assert (result.code, result.out) == (0, unbroken.ended.out), result.err
            assert not difference(tree(folder), unbroken.tree)
            assert ended(folder)
            ends += 1
            folder = reproducing.prepared(f"killed-{ends}")
    assert ended(folder)


@pytest.mark.slow
@pytest.mark.parametrize("job", ["train", "eval"])
def test_a_killed_job_of_reproduce_is_told_and_done_by_the_next_call(reproducing: Scene, job: str) -> None:
    """As by a system that is out of memory."""
    folder = reproducing.prepared("killed")
    point = Point(imported={"train": "accelerate", "eval": "agsm_bench.generate"}[job])
    death = environment(Path("/"), [point], job, **SMALL)
    result = replace(reproducing, environment={**reproducing.environment, **death}).run(folder)
    assert result.code == 1
    assert "ended by signal 9" in result.err
    result = reproducing.run(folder)
    assert (result.code, result.out) == (0, reproducing.unbroken.ended.out), result.err
    assert not difference(tree(folder), reproducing.unbroken.tree)
