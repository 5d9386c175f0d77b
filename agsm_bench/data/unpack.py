"""Archives that are not trusted: nothing leaves the folder, no links, every file's checksum or length read."""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from agsm_bench.data.places import ShowProgress
from agsm_bench.errors import MissingError, UserError

BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError),
    *(UnicodeError, RuntimeError, OSError, LookupError, MemoryError),
)
"""What the standard library raises for damaged archives: RuntimeError for encrypted ones, OSError for gzip, bzip2,
LookupError for a file without a name, MemoryError for LZMA that asks for gigabytes."""
NAMES = {None, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ}
"""Numbers of an OSError for which the archive is to blame, not the disk."""


LARGEST_RATIO = 100
"""Of what is packed to the archive; text comes to ten, and gzip can a thousand."""
SMALL = 2**26
"""Bytes that any archive may unpack to."""


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    is_file: bool
    is_folder: bool
    info: Any
    """ZipInfo or TarInfo."""


def unpack(archive: Path, folder: Path, anchor: str, wanted: Sequence[str], show: ShowProgress) -> Path:
    """Unpacks the wanted files of a zip or tar into an empty folder.

    Args:
        archive: the file.
        folder: where to unpack; made anew.
        anchor: name of a file that has to be in the archive.
        wanted: patterns of the names to take, relative to the anchor's folder.
        show: told of every file.

    Returns:
        The anchor's folder, below `folder`.

    Raises:
        OSError: the disk is full, or not ours.
        MissingError: the archive is damaged, lacks the anchor, or has a member that would lie outside or is a link.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with _opened(archive) as (opened, members):
        for member in members:
            _check(archive, member)
        inner = _folder_of(archive, anchor, members)
        chosen = [m for m in members if m.is_file and _is_wanted(PurePosixPath(m.name), inner, wanted)]
        _check_room(folder, sum(m.size for m in chosen))
        for done, member in enumerate(chosen, 1):
            if isinstance(opened, tarfile.TarFile):
                _extract(opened, member, folder)
            else:
                opened.extract(member.info, folder)
            show("unpack files", done, len(chosen))
    return folder / inner


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile | tarfile.TarFile, list[_Member]]]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as opened:
                members = [_zipped(info) for info in opened.infolist()]
                _check_ratio(path, sum(member.size for member in members))
                yield opened, members
        else:
            with tarfile.open(path) as opened_tar:
                members = []
                for info in opened_tar:
                    members.append(_Member(info.name, info.size, info.isreg(), info.isdir(), info))
                    _check_ratio(path, info.offset_data + info.size)
                while opened_tar.fileobj and opened_tar.fileobj.read(1 << 20):
                    _check_ratio(path, opened_tar.fileobj.tell())  # the compressed stream's checksum comes last
                yield opened_tar, members
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno not in NAMES:
            raise
        raise _bad(path, f"is damaged, or no zip or tar ({str(error).partition(chr(10))[0]})") from error


def _extract(opened: tarfile.TarFile, member: _Member, folder: Path) -> None:
    """A plain file's contents, and nothing else of what a tar says; `extract` has a filter from Python 3.11.4 on."""
    source = opened.extractfile(member.info)
    assert source
    (folder / member.name).parent.mkdir(parents=True, exist_ok=True)
    with source, (folder / member.name).open("wb") as target:
        shutil.copyfileobj(source, target)


def _check_ratio(path: Path, unpacked: int) -> None:
    if unpacked > SMALL + LARGEST_RATIO * path.stat().st_size:
        raise _bad(path, f"is refused: it holds more than {LARGEST_RATIO} times its own size")


def _zipped(info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    plain = not info.is_dir() and kind in (0, stat.S_IFREG)
    # orig_filename: ZipFile has already turned a backslash of Windows into a slash, or cut at a null byte
    return _Member(info.orig_filename, info.file_size, plain, info.is_dir(), info)


def _check(archive: Path, member: _Member) -> None:
    path = PurePosixPath(member.name)
    windows = PureWindowsPath(member.name)
    if path.is_absolute() or windows.drive or windows.root or ".." in windows.parts or "\0" in member.name:
        raise _bad(archive, f"is refused: its member {member.name!r} would lie outside the folder")
    if not member.is_file and not member.is_folder:
        raise _bad(archive, f"is refused: its member {member.name!r} is a link or a device")


def _folder_of(archive: Path, anchor: str, members: Sequence[_Member]) -> PurePosixPath:
    found = [PurePosixPath(m.name).parent for m in members if m.is_file and PurePosixPath(m.name).name == anchor]
    if not found:
        raise _bad(archive, f"is another archive: it has no {anchor}")
    return min(found, key=lambda path: len(path.parts))


def _is_wanted(path: PurePosixPath, inner: PurePosixPath, wanted: Sequence[str]) -> bool:
    if not path.is_relative_to(inner):
        return False
    return any(fnmatch(path.relative_to(inner).as_posix(), pattern) for pattern in wanted)


def _check_room(folder: Path, needed: int) -> None:
    if (free := shutil.disk_usage(folder).free) < needed:
        raise not_enough_room(folder, needed, free)


def not_enough_room(folder: Path, needed: int, free: int) -> UserError:
    """The error for a disk that is too small; bytes."""
    return UserError(
        f"{folder} needs {needed / 1e9:.1f} GB of disk, and {free / 1e9:.1f} GB are free.",
        "Free space there, or set AGSM_BENCH_DATA to a folder on another disk.",
    )


def _bad(path: Path, why: str) -> MissingError:
    return MissingError(f"{path} {why}.", "Get it again.")
