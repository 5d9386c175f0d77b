"""Damaged and hostile archives: nothing is written but below the target folder, and no more than there is room for."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from fuzzing import Kind, damaging, fuzz, refused

from agsm_bench.data.unpack import unpack

FILES = {"top/a.jpg": b"a" * 300, "top/in/b.json": b"{}" * 50, "top/c.txt": b"c", "README": b"r" * 10}
OUT = "out"


def read_archive(path: Path) -> None:
    """Unpacks it; what lies there then is files and folders alone."""
    try:
        folder = unpack(path, path.with_name(OUT), "a.jpg", ("*",), lambda *_: None)
        assert path.with_name(OUT).resolve() in (folder.resolve(), *folder.resolve().parents)
        assert (folder / "a.jpg").is_file()
        for found in path.with_name(OUT).rglob("*"):
            assert stat.S_IFMT(found.lstat().st_mode) in (stat.S_IFREG, stat.S_IFDIR)
    finally:
        shutil.rmtree(path.with_name(OUT), ignore_errors=True)


def zipped(method: int = zipfile.ZIP_DEFLATED, files: Mapping[str, bytes] = FILES) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(compression: str = "", form: int = tarfile.PAX_FORMAT, files: Mapping[str, bytes] = FILES) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}", format=form) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def written(data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "archive").write_bytes(data)
        return folder / "archive"

    return make


def nameless(_: bytes) -> bytes:
    """A zip with a file without a name."""
    stream = io.BytesIO(zipped())
    with zipfile.ZipFile(stream, "a") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = ""
        archive.writestr(info, b"")
    return stream.getvalue()


KINDS = [
    Kind("zip", written(zipped()), read_archive, "zip", (nameless,)),
    Kind("zip, stored", written(zipped(zipfile.ZIP_STORED)), read_archive, "zip"),
    Kind("zip, lzma", written(zipped(zipfile.ZIP_LZMA)), read_archive),
    Kind("tar", written(tarred()), read_archive),
    Kind("tar, GNU", written(tarred(form=tarfile.GNU_FORMAT)), read_archive),
    Kind("tar.gz", written(tarred("gz")), read_archive),
    Kind("tar.bz2", written(tarred("bz2")), read_archive),
    Kind("tar.xz", written(tarred("xz")), read_archive),
]


@damaging(KINDS)
def test_damaged_files_are_read_or_refused(kind: Kind, numbers: range, tmp_path: Path) -> None:
    fuzz(kind, tmp_path, numbers)


ZEROS = bytes(2**27)


def tarred_of(*members: tuple[str, bytes, str, int]) -> bytes:
    """A tar of (name, type, target, size that it states); of nothing but headers, and one file."""
    stream = io.BytesIO(tarred())
    with tarfile.open(fileobj=stream, mode="a") as archive:
        for name, kind, target, size in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, size
            archive.addfile(info)
    return stream.getvalue()


HOSTILE: Mapping[str, Callable[[], bytes]] = {
    "a zip bomb": lambda: zipped(files={"a.jpg": ZEROS}),
    "a gzip bomb": lambda: gzip.compress(tarred(files={"a.jpg": ZEROS})),
    "a bzip2 bomb": lambda: bz2.compress(tarred(files={"a.jpg": ZEROS})),
    "an xz bomb": lambda: lzma.compress(tarred(files={"a.jpg": ZEROS}), preset=0),
    "a bomb behind the archive's end": lambda: gzip.compress(tarred() + ZEROS),
    "very many empty files": lambda: gzip.compress(tarred(files={"x": b""})[:512] * 10_000),
    "links that lead outside, one after the other": lambda: tarred_of(
        ("top/l", tarfile.SYMTYPE, "..", 0),
        ("top/l/m", tarfile.SYMTYPE, "..", 0),
        ("top/l/m/x", tarfile.REGTYPE, "", 0),
    ),
    "a hard link to a file outside": lambda: tarred_of(("top/l", tarfile.LNKTYPE, "../../archive", 0)),
    "a device": lambda: tarred_of(("top/null", tarfile.CHRTYPE, "", 0)),
    "a file larger than any disk": lambda: tarred_of(("top/x", tarfile.REGTYPE, "", 2**62)),
    "a file within a file": lambda: zipped(files={"a.jpg": b"", "a.jpg/b": b""}),
    "a file that is a folder, too": lambda: zipped(files={"a.jpg": b"", "b": b"", "b/c": b""}),
    "an archive in an archive": lambda: zipped(files={"inner.zip": zipped()}),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_hostile_archives_are_refused(make: Callable[[], bytes], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    kind = Kind("hostile", written(make()), read_archive, hostile=True)
    fuzz(kind, tmp_path / "in", ())


def test_names_that_are_equal_but_for_their_case_are_all_kept_or_refused(tmp_path: Path) -> None:
    """A file system may take them for one."""
    path = written(zipped(files={"a.jpg": b"1", "A.JPG": b"2", "b": b"3"}))(tmp_path)

    def read(path: Path) -> None:
        unpack(path, tmp_path / OUT, "a.jpg", ("*",), lambda *_: None)

    if refused(Kind("case", lambda _: path, read), path) is None:
        assert sorted(found.name for found in (tmp_path / OUT).iterdir()) == ["A.JPG", "a.jpg", "b"]
