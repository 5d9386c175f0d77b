"""Killed anywhere and called again, a command ends with what an unbroken one leaves, byte for byte.

Kills come before a change of the files, in the middle of a write, or after a random time, also several in a row; what
the slow tests do at 25 points of each command, the quick ones do at one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from coco_tiny import noise, write_coco
from data_server import Site, served, zipped
from kill_points import Warm, points, warm
from kill_scenes import GENERATE, METRICS, TRAIN, Scene, copied, difference, tiny_dataset, tree
from photo_tiny import SIZE


POINTS = [pytest.param(1, id="1"), pytest.param(25, id="25", marks=pytest.mark.slow)]
FILES = {f"top/val/{i}.jpg": bytes([i]) * 5000 for i in range(6)}


@pytest.fixture(scope="module")
def started() -> Iterator[Warm]:
    with warm() as process:
        yield process


@pytest.fixture(scope="module")
def generated(started: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`run` without scores, and `other`, its images by another seed."""
    folder = tmp_path_factory.mktemp("generated")
    for more in (("--metrics", "none"), ("--seed", 1, "--out", "other")):
        assert Scene(started, folder, (*GENERATE, *more)).run(folder).code == 0
    return folder


def survives(scene: Scene, deaths: int) -> None:
    """Kills the command so often, mostly once before it is called again and compared."""
    random = Random(" ".join(map(str, scene.arguments[:2])))
    unbroken, killed, rounds = scene.unbroken, 0, 0
    drawn = points(random, unbroken.ended.changes, unbroken.seconds)
    while killed < deaths:
        folder, story = scene.prepared(f"round-{rounds}"), list[str]()
        for _ in range(random.choice((1, 1, 2, 3)) if deaths > 1 else 1):
            point = next(drawn)
            ended = scene.run(folder, point)
            assert ended.killed or ended.code == 0, (point, ended.err)
            killed, rounds = killed + ended.killed, rounds + 1
            story.append(f"{point}: {ended.code} after {ended.notes.splitlines()[-1:]}")
        ended = scene.run(folder)
        assert ended.code == 0, (story, ended.err)
        assert ended.out == unbroken.ended.out, story
        assert not difference(tree(folder), unbroken.tree), story


@pytest.mark.parametrize("deaths", POINTS)
def test_train(started: Warm, tmp_path: Path, deaths: int) -> None:
    survives(Scene(started, tmp_path, TRAIN), deaths)


@pytest.mark.parametrize("deaths", POINTS)
def test_generate(started: Warm, tmp_path: Path, deaths: int) -> None:
    survives(Scene(started, tmp_path, (*GENERATE, "--metrics", "none")), deaths)


@pytest.mark.parametrize("deaths", POINTS)
@pytest.mark.parametrize("more", [(), METRICS], ids=["own", "metrics"])
def test_score(started: Warm, generated: Path, tmp_path: Path, more: tuple[object, ...], deaths: int) -> None:
    survives(Scene(started, tmp_path, ("score", "run", *more), copied(generated)), deaths)


@pytest.mark.parametrize("deaths", POINTS)
def test_data_get(started: Warm, tmp_path: Path, deaths: int) -> None:
    archive = zipped(FILES)
    with served(Site(archive)) as site:
        small = {
            "agsm_bench.data.download:CHUNK": 500,
            "kill_scenes:offer": tiny_dataset(site.url, archive, len(FILES)),
        }
        environment = {"AGSM_BENCH_DATA": "data"}
        survives(Scene(started, tmp_path, ("data", "get", "tiny"), small=small, environment=environment), deaths)


@pytest.mark.parametrize("deaths", POINTS)
def test_data_encode(
    started: Warm, tmp_path: Path, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    (tmp_path / "coco").mkdir()
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "coco" / "data"))
    write_coco(tmp_path / "coco" / "data", {"train2017": range(1, 12), "val2017": (12, 13)}, noise)
    arguments = ("data", "encode", "--backbone", "sd15", "--model", tiny_models["sd15"], "--size", SIZE)
    small, environment = {"agsm_bench.data.encode:PER_FILE": 2}, {"AGSM_BENCH_DATA": "data"}
    survives(Scene(started, tmp_path, arguments, copied(tmp_path / "coco"), small, environment), deaths)
