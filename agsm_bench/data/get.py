"""Getting a dataset: download, check, unpack, move into place, record. Each step that was cut short is done again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agsm_bench.data.download import download
from agsm_bench.data.places import (
    ROOT,
    ShowProgress,
    ahead_of,
    differing,
    digest,
    folder_of,
    how_to_get,
    part_of,
    read_record,
    record,
    record_of,
    root,
    state,
    wanted_files,
    write_record,
)
from agsm_bench.data.table import Dataset
from agsm_bench.data.unpack import not_enough_room, unpack
from agsm_bench.errors import MissingError, UserError
from agsm_bench.jsonl import writing

Outcome = Literal["there already", "got", "found"]
"""`found`: the folder was there without a record (put there by hand), and has now been recorded."""


@dataclass(frozen=True)
class Got:
    """What `get` did."""

    outcome: Outcome
    checked: str = ""
    """How the file was checked."""


def get(data: Dataset, show: ShowProgress, *, source: Path | None = None, again: bool = False) -> Got:
    """Makes the dataset be there; does nothing where it is.

    Args:
        data: which.
        show: told of the progress.
        source: a local copy of the file, which stays as it is; otherwise it is downloaded.
        again: also where it is there.

    Raises:
        UserError: the disk is full or not ours, or another process is at it.
        MissingError: the file cannot be had, or is not the one expected.
    """
    if not again and state(data) == "there":
        return Got("there already")
    if source is not None:
        _check_readable(source)
    with _only_one(data):
        if not again and (checksum := _put_before(data, show)):
            _finish(data)
            return Got("got", _how_checked(data, checksum))
        if source is None and not again and _found_whole(data):
            ahead_of(data).unlink(missing_ok=True)
            record(data, sorted(wanted_files(data, folder_of(data))), "found", None, show)
            return Got("found")
        if folder_of(data).is_symlink():
            raise UserError(f"{folder_of(data)} is a link.", f"Mend what it points to, or: rm {folder_of(data)}")
        file = source or _downloaded(data, show)
        checksum = _check(data, file, own=source is None)
        try:
            fresh = _unpacked(data, file, show)
            names = _own_names(data, fresh)
        except UserError:  # an archive that is refused is not a beginning
            shutil.rmtree(part_of(data) / "unpacked", ignore_errors=True)
            raise
        write_record(ahead_of(data), fresh, names, str(source or data.url), checksum, show)
        _put(data, fresh)
        _finish(data)
        return Got("got", _how_checked(data, checksum))


@contextmanager
def _only_one(data: Dataset) -> Iterator[None]:
    from agsm_bench.locking import alone

    lock = root() / ".parts" / f"{data.name}.lock"
    with writing(root(), f"set {ROOT} to another folder"):
        part_of(data).mkdir(parents=True, exist_ok=True)
        with alone(lock, data.name, "Wait until it ends."):
            yield


def _found_whole(data: Dataset) -> bool:
    """Somebody has put the dataset there, or a kill came before the record."""
    folder = folder_of(data)
    if record_of(data).exists() or not (folder / data.anchor).is_file():
        return False
    return data.files in (None, sum(1 for _ in wanted_files(data, folder)))


def _check_readable(source: Path) -> None:
    if not (source.is_file() and os.access(source, os.R_OK)):
        raise MissingError(f"There is no file {source} to read.", "Use --from with the file as it was downloaded.")


def _downloaded(data: Dataset, show: ShowProgress) -> Path:
    if data.url is None or data.size is None:
        raise MissingError(f"{data.name} is given on request only.", f"Get it: {how_to_get(data)}")
    part = part_of(data) / Path(data.url).name
    have = part.stat().st_size if part.exists() else 0
    # the archive, and the same again unpacked: pictures do not get smaller by packing
    needed, free = 2 * data.size - have, shutil.disk_usage(root()).free
    if free < needed:
        raise not_enough_room(root(), needed, free)
    download(data.url, part, data.size, show)
    return part


def _check(data: Dataset, file: Path, *, own: bool) -> str:
    """The file's checksum; a wrong file of our own is deleted, as going on with it would not help."""
    size = file.stat().st_size
    algorithm, _, expected = (data.checksum or "sha256:").partition(":")
    if data.size not in (None, size):
        wrong = f"{size:,} bytes, not {data.size:,}"
    elif (found := digest(file, algorithm)) != (expected or found):
        wrong = f"{algorithm} {found}, not {expected}"
    else:
        return f"{algorithm}:{found}"
    if own:
        file.unlink()
    fix = "Run the same command again to download it anew." if own else "Use another copy."
    raise MissingError(f"{file} is damaged, or is not the file of {data.name} ({wrong}).", fix)


def _how_checked(data: Dataset, checksum: str) -> str:
    if data.checksum:
        return f"{checksum.partition(':')[0]} checked"
    return ("no published checksum: size checked" if data.size else "no published checksum or size") + f", {checksum}"


def _unpacked(data: Dataset, file: Path, show: ShowProgress) -> Path:
    """A folder with the dataset's files, on the disk where they belong."""
    fresh = part_of(data) / "unpacked"
    if data.files != 1:
        return unpack(file, fresh, data.anchor, data.wanted, show)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    shutil.copyfile(file, fresh / data.anchor)
    return fresh


def _own_names(data: Dataset, fresh: Path) -> list[str]:
    """Of the files that the dataset has; raises MissingError where they are too few or too many."""
    names = sorted(wanted_files(data, fresh))
    if data.files not in (None, len(names)):
        held = f"{len(names):,} files, not {data.files:,}"
        raise MissingError(f"The file of {data.name} holds {held}.", "Use another copy.")
    return names


def _put_before(data: Dataset, show: ShowProgress) -> str | None:
    """The checksum of the file whose content an earlier call has put into place, before it was killed."""
    if not ahead_of(data).exists():
        return None
    ahead = read_record(data, ahead_of(data))
    return None if differing(folder_of(data), ahead["files"], show) else ahead["checksum"]


def _finish(data: Dataset) -> None:
    """The record comes last: with it the dataset is there, and nothing is looked for in its parts any more."""
    shutil.rmtree(part_of(data))
    record_of(data).parent.mkdir(parents=True, exist_ok=True)
    os.replace(ahead_of(data), record_of(data))


def _put(data: Dataset, fresh: Path) -> None:
    """Moves the new folder into place, with what of the old one is not the dataset's; a reader sees either or none."""
    folder, old = folder_of(data), part_of(data) / "old"
    for place in (folder, old):  # an earlier call may have been killed between the two moves below
        _keep_others(place, fresh, _got_before(data))
    record_of(data).unlink(missing_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    os.replace(fresh, folder)


def _got_before(data: Dataset) -> Container[str]:
    """Names of the files that an earlier call brought; not those of a folder that it only found."""
    try:
        found = read_record(data)
    except MissingError:
        return ()
    return () if found.get("source") == "found" else found["files"]


def _keep_others(folder: Path, fresh: Path, own: Container[str]) -> None:
    """Gives the new folder what somebody else has put into the old one."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        folder_itself = path.is_dir() and not path.is_symlink()
        if folder_itself or name.as_posix() in own or os.path.lexists(fresh / name):
            continue
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, fresh / name, follow_symlinks=False)
        except OSError:  # a file system without links
            shutil.copy2(path, fresh / name, follow_symlinks=False)
