"""Where data is, and whether it is all there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from hashlib import file_digest
from pathlib import Path
from typing import Any, Literal

from agsm_bench.data.table import Dataset
from agsm_bench.errors import ExitCode, MissingError, UserError
from agsm_bench.faults import denied
from agsm_bench.folders import read_json, write_json

ROOT = "AGSM_BENCH_DATA"

SHOWN = 10
"""Damaged files that are named."""
State = Literal["there", "partly", "absent"]
"""`partly`: a download was cut short, files are gone, or nobody has yet recorded what is there."""

ShowProgress = Callable[[str, int, int], None]
"""(what is done, how much, of how much): bytes of a download, else files."""


def root() -> Path:
    """The folder of all data: $AGSM_BENCH_DATA, else the user's cache folder."""
    if given := os.environ.get(ROOT):
        return Path(given).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("agsm-bench") / "data"


def folder_of(data: Dataset) -> Path:
    """Where the dataset is once it is there."""
    return root() / data.folder


def part_of(data: Dataset) -> Path:
    """Where its file is while it is downloaded and unpacked."""
    return root() / ".parts" / data.name


def record_of(data: Dataset) -> Path:
    """What was got and when it was there: its files with their sizes and SHA-256."""
    return root() / ".records" / f"{data.name}.json"


def ahead_of(data: Dataset) -> Path:
    """The record while its files are not yet where they belong."""
    return root() / ".parts" / f"{data.name}.json"


def ready(data: Dataset) -> Path:
    """The dataset's folder.

    Raises:
        MissingError: it is not there, or not all of it, with the command that gets it.
    """
    if (found := state(data)) != "there":
        where = f"{data.name} ({data.holds}) is {'not' if found == 'absent' else 'only partly'} in {root()}."
        raise MissingError(where, f"Get it: {how_to_get(data)}")
    return folder_of(data)


def how_to_get(data: Dataset, *, again: bool = False) -> str:
    """The command that gets it, also where it is there, and what has to be asked for first."""
    command = f"agsm-bench data get {data.name}{' --again' if again else ''}"
    return command if data.url else f"ask for it at {data.page}, then {command} --from FILE"


def state(data: Dataset) -> State:
    """Whether the dataset is there; counts its files, and does not read them (`damaged` does)."""
    folder = folder_of(data)
    if record_of(data).exists() and folder.is_dir():
        try:
            files = read_record(data)["files"]
        except MissingError:
            return "partly"
        return "there" if sum(1 for _ in wanted_files(data, folder)) >= len(files) else "partly"
    begun = part_of(data).is_dir() and any(part_of(data).iterdir())
    return "partly" if begun or folder.exists() else "absent"


def wanted_files(data: Dataset, folder: Path) -> Iterator[str]:
    """Names, relative to the folder, of those of its files that belong to the dataset."""
    for parent, _, names in os.walk(folder):
        inner = Path(parent).relative_to(folder)
        for name in names:
            path = (inner / name).as_posix()
            if any(fnmatch(path, pattern) for pattern in data.wanted):
                yield path


def read_record(data: Dataset, path: Path | None = None) -> dict[str, Any]:
    """What `record` wrote, or `write_record`; raises MissingError where it is damaged."""
    path = path or record_of(data)
    fix = f"Get it again: {how_to_get(data, again=True)}"
    value = read_json(path, fix)
    if not isinstance(value.get("files"), dict) or not value["files"]:
        raise MissingError(f"{path} is damaged.", fix)
    return value


def record(data: Dataset, names: Sequence[str], source: str, checksum: str | None, show: ShowProgress) -> None:
    """Reads these files of the dataset's folder and keeps their SHA-256, by which `damaged` finds later damage."""
    record_of(data).parent.mkdir(parents=True, exist_ok=True)
    write_record(record_of(data), folder_of(data), names, source, checksum, show)


def write_record(
    path: Path, folder: Path, names: Sequence[str], source: str, checksum: str | None, show: ShowProgress
) -> None:
    """`record` of files that are in another folder."""
    files = {}
    for done, name in enumerate(names, 1):
        files[name] = digest(folder / name, "sha256")
        show("record files", done, len(names))
    write_json(path, {"source": source, "checksum": checksum, "files": files})


def damaged(data: Dataset, show: ShowProgress) -> list[str]:
    """Names of the files that are gone or no longer what was recorded; reads all of them.

    Raises:
        MissingError: the dataset was never got.
    """
    if not record_of(data).exists() or not folder_of(data).exists():
        ready(data)
    return differing(folder_of(data), read_record(data)["files"], show)


def differing(folder: Path, files: Mapping[str, str], show: ShowProgress) -> list[str]:
    """Names of the files that are not there with this SHA-256."""
    wrong = []
    for done, (name, expected) in enumerate(files.items(), 1):
        try:
            whole = digest(folder / name, "sha256") == expected
        except (OSError, ValueError) as error:  # gone, a bad sector, or a name that no file can have
            if denied(error) and getattr(error, "errno", None) != errno.EIO:
                raise
            whole = False
        if not whole:
            wrong.append(name)
        show("verify files", done, len(files))
    return wrong


def digest(path: Path, algorithm: str) -> str:
    """Hex digest of a file."""
    with path.open("rb") as stream:
        return file_digest(stream, algorithm).hexdigest()


def damage(data: Dataset, wrong: list[str]) -> UserError:
    """The error of `data verify`, exit code 1, with the damaged files named."""
    count, more = len(read_record(data)["files"]), f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return UserError(
        f"{data.name}: {len(wrong)} of {count} files are gone or damaged: {', '.join(wrong[:SHOWN])}{more}.",
        f"Get it again: {how_to_get(data, again=True)}",
        ExitCode.REGRESSION,
    )
