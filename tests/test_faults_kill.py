"""Killed anywhere and called again, a command ends with what an unbroken one leaves, byte for byte.

Kills come before a change of the files, in the middle of a write, or after a random time, also several in a row; what
the slow tests do at 25 points of each command, the quick ones do at one.
"""

from __future__ import annotations

from random import Random

import pytest
from kill_points import points
from kill_scenes import Scene, Scenes, difference, tree


def survives(scene: Scene, deaths: int, seed: str) -> None:
    """Kills the command so often, mostly once before it is called again and compared."""
    random, unbroken = Random(seed), scene.unbroken
    drawn = points(random, unbroken.ended.changes, unbroken.seconds)
    killed = 0
    while killed < deaths:
        folder, story = scene.prepared(f"killed-{killed}-of-{deaths}"), list[str]()
        before = killed
        while killed == before or (killed < deaths and random.random() < 0.4):
            point = next(drawn)
            ended = scene.run(folder, point)
            assert ended.killed or ended.code == 0, (point, ended.err)
            killed += ended.killed
            story.append(f"{point}: {ended.code} after {ended.notes.splitlines()[-1:]}")
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
