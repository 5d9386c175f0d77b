"""Small commands for the tests of kills and signals, and what they leave."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import md5
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from coco_tiny import noise, write_coco
from data_server import Site, served, zipped
from kill_points import Ended, Point, Request, Warm, warm
from photo_tiny import SIZE

SMALL = {"agsm_bench.metrics.denoising:GROUPS": 2, "agsm_bench.training.validation:TIMESTEPS": [500]}
TRAIN = ("train", "agsm", "--batch", 2, "--steps", 5, "--validate-every", 3, "--out", "tokens")
GENERATE = ("eval", "geneval", "--limit", 4, "--images-per-prompt", 2, "--steps", 2, "--out", "run")
ITS_OWN = ("started", "git")
FILES = {f"top/val/{i}.jpg": bytes([i]) * 5000 for i in range(6)}


@dataclass
class Scene:
    """A command and what is there before it."""

    warm: Warm
    home: Path
    arguments: tuple[object, ...]
    prepare: Callable[[Path], None] = lambda folder: None
    small: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    name: str = "unbroken"
    """Of the folder where nothing happens."""
    once: bool = False
    """Whether it says otherwise where all was done before."""

    def prepared(self, name: str) -> Path:
        """A new folder to type the command in."""
        folder = self.home / name
        folder.mkdir()
        self.prepare(folder)
        return folder

    def run(self, folder: Path, *points: Point, **small: Any) -> Ended:
        """The command, or what a kill leaves of it."""
        words = [str(word) for word in self.arguments]
        return self.warm.run(Request(words, str(folder), points, {**SMALL, **self.small, **small}, self.environment))

    @cached_property
    def unbroken(self) -> Unbroken:
        """What the command does where nothing happens."""
        folder, since = self.prepared(self.name), monotonic()
        ended = self.run(folder)
        assert ended.code == 0, ended.err
        return Unbroken(folder, ended, tree(folder), monotonic() - since)


@dataclass(frozen=True)
class Unbroken:
    """What a command prints and leaves, and the seconds that it takes."""

    folder: Path
    ended: Ended
    tree: dict[str, Any]
    seconds: float


def tree(folder: Path) -> dict[str, Any]:
    """Every file by its name, as its bytes.

    Not of the files that tell who worked on a run and since when, in which state of a checkout: a manifest has a line
    more for each process that went on with it. All else of them has to be equal. Nor of the note on who holds a lock,
    which a kill may leave until somebody holds it again.
    """
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".holder"):
        name = path.relative_to(folder).as_posix()
        content = path.read_bytes()
        if path.name in ("manifest.json", "config.json") and b'"provenance"' in content:
            record = json.loads(content)
            entries = record.pop("provenance")
            entries = entries if isinstance(entries, list) else [entries]
            alike = {json.dumps({k: v for k, v in entry.items() if k not in ITS_OWN}) for entry in entries}
            found[name] = record, alike
        else:
            found[name] = content
    return found


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Names of the files that differ."""
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))


def working(folder: Path) -> list[str]:
    """Other processes that still work in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cwd").resolve(strict=True) == folder and path.name != str(os.getpid()):
                found.append((path / "cmdline").read_text())
        except OSError:
            continue
    return found


def copied(source: Path) -> Callable[[Path], None]:
    """Prepares a folder by what another holds."""
    return lambda folder: shutil.copytree(source, folder, dirs_exist_ok=True)


class Scenes:
    """A scene a command, by its name, made when it is asked for."""

    def __init__(self, process: Warm, home: Path, models: Mapping[str, Path], stack: ExitStack) -> None:
        self._warm, self._home, self._models, self._stack = process, home, models, stack
        self._made: dict[str, Scene] = {}

    def __getitem__(self, name: str) -> Scene:
        if name not in self._made:
            (self._home / name).mkdir()
            self._made[name] = getattr(self, f"_{name}")(self._home / name)
        return self._made[name]

    def _train(self, home: Path) -> Scene:
        return Scene(self._warm, home, (*TRAIN, "--save-every", 2, "--keep-every", 2))

    def _unsaved(self, home: Path) -> Scene:
        """A training whose checkpoints are far apart."""
        return Scene(self._warm, home, (*TRAIN, "--save-every", 100))

    def _generate(self, home: Path) -> Scene:
        return Scene(self._warm, home, (*GENERATE, "--metrics", "none"))

    def _score(self, home: Path) -> Scene:
        return Scene(self._warm, home, ("score", "run"), copied(self["generate"].unbroken.folder))

    def _metrics(self, home: Path) -> Scene:
        """More metrics of a run, compared with the images of another seed."""
        other = Scene(self._warm, home, (*GENERATE, "--metrics", "none", "--seed", 1)).unbroken.folder
        more = ("--metrics", "shapes_clip/score,psnr", "--references", other / "run")
        return Scene(self._warm, home, ("score", "run", *more), copied(self["generate"].unbroken.folder), name="scored")

    def _get(self, home: Path) -> Scene:
        archive = zipped(FILES)
        site = self._stack.enter_context(served(Site(archive)))
        tiny = {
            "name": "tiny", "holds": "files", "licence": "none", "page": "", "url": site.url, "size": len(archive),
            "checksum": f"md5:{md5(archive).hexdigest()}", "folder": "tiny/val", "anchor": "0.jpg", "files": len(FILES),
        }  # fmt: skip
        small = {"agsm_bench.data.download:CHUNK": 500, "kill_scenes:offer": tiny}
        environment = {"AGSM_BENCH_DATA": "data"}
        return Scene(self._warm, home, ("data", "get", "tiny"), small=small, environment=environment, once=True)

    def _encode(self, home: Path) -> Scene:
        (home / "coco").mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AGSM_BENCH_DATA", str(home / "coco" / "data"))
            write_coco(home / "coco" / "data", {"train2017": range(1, 12), "val2017": (12, 13)}, noise)
        arguments = ("data", "encode", "--backbone", "sd15", "--model", self._models["sd15"], "--size", SIZE)
        small, environment = {"agsm_bench.data.encode:PER_FILE": 2}, {"AGSM_BENCH_DATA": "data"}
        return Scene(self._warm, home, arguments, copied(home / "coco"), small, environment)


@contextmanager
def scenes(home: Path, models: Mapping[str, Path]) -> Iterator[Scenes]:
    """All of them, below `home`; `models` are folders of tiny pipelines."""
    with warm() as process, ExitStack() as stack:
        yield Scenes(process, home, models, stack)


def offer(fields: Mapping[str, Any]) -> None:
    """In a command's process: one dataset in place of all."""
    from agsm_bench.data import table

    table.DATASETS = {fields["name"]: table.Dataset(**fields)}  # type: ignore[misc]
