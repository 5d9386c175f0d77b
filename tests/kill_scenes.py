"""Small commands for the tests of kills and signals, and what they leave."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import md5
from pathlib import Path
from time import monotonic
from typing import Any

from kill_points import Ended, Point, Request, Warm

SMALL = {"agsm_bench.metrics.denoising:GROUPS": 2, "agsm_bench.training.validation:TIMESTEPS": [500]}
LOOP = ("--validate-every", 3, "--save-every", 2)
TRAIN = ("train", "agsm", "--batch", 2, "--steps", 5, *LOOP, "--keep-every", 2, "--out", "tokens")
GENERATE = ("eval", "geneval", "--limit", 4, "--images-per-prompt", 2, "--steps", 2, "--out", "run")
METRICS = ("--metrics", "shapes_clip/score,psnr", "--references", "other")


@dataclass
class Scene:
    """A command and what is there before it."""

    warm: Warm
    home: Path
    arguments: tuple[object, ...]
    prepare: Callable[[Path], None] = lambda folder: None
    small: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

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
        folder, since = self.prepared("unbroken"), monotonic()
        ended = self.run(folder)
        assert ended.code == 0, ended.err
        return Unbroken(ended, tree(folder), monotonic() - since)


@dataclass(frozen=True)
class Unbroken:
    """What a command prints and leaves, and the seconds that it takes."""

    ended: Ended
    tree: dict[str, Any]
    seconds: float


def tree(folder: Path) -> dict[str, Any]:
    """Every file by its name, as its bytes.

    Not of the files that tell who worked on a run and since when: a manifest has a line more for each process that
    went on with it. All else of them has to be equal.
    """
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        content = path.read_bytes()
        if path.name in ("manifest.json", "config.json") and b'"provenance"' in content:
            record = json.loads(content)
            entries = record.pop("provenance")
            entries = entries if isinstance(entries, list) else [entries]
            alike = {json.dumps({k: v for k, v in entry.items() if k != "started"}) for entry in entries}
            found[name] = record, alike
        else:
            found[name] = content
    return found


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Names of the files that differ."""
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))


def copied(source: Path) -> Callable[[Path], None]:
    """Prepares a folder by what another holds."""
    return lambda folder: shutil.copytree(source, folder, dirs_exist_ok=True)


def offer(fields: Mapping[str, Any]) -> None:
    """In a command's process: one dataset in place of all."""
    from agsm_bench.data import table

    table.DATASETS = {fields["name"]: table.Dataset(**fields)}  # type: ignore[misc]


def tiny_dataset(url: str, archive: bytes, files: int) -> dict[str, Any]:
    """Of a zip that a local server has."""
    return {
        "name": "tiny", "holds": "files", "licence": "none", "page": "", "url": url, "size": len(archive),
        "checksum": f"md5:{md5(archive).hexdigest()}", "folder": "tiny/val", "anchor": "0.jpg", "files": files,
    }  # fmt: skip
