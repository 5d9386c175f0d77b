"""Archives of strangers: nothing outside the folder, no links, damage found."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from data_server import zipped

from agsm_bench.data.unpack import unpack
from agsm_bench.errors import MissingError


def unpacked(tmp_path: Path, content: bytes, *wanted: str) -> set[str]:
    archive = tmp_path / "archive"
    archive.write_bytes(content)
    folder = unpack(archive, tmp_path / "out", "a.jpg", wanted or ("*",), lambda *_: None)
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def tarred(*members: tuple[str, bytes, bytes], compression: str = "gz") -> bytes:
    """A tar of (name, type, content or target)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(content)
            else:
                info.linkname = content.decode()
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def linked() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.jpg", b"a")
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return stream.getvalue()


FILES = {"top/a.jpg": b"a", "top/in/b.json": b"b", "top/c.txt": b"c", "README": b"r"}


def test_the_anchors_folder_is_taken_wherever_it_lies(tmp_path: Path) -> None:
    assert unpacked(tmp_path, zipped(FILES)) == {"a.jpg", "in/b.json", "c.txt"}
    assert unpacked(tmp_path, zipped(FILES), "*.jpg", "*.json") == {"a.jpg", "in/b.json"}
    assert not (tmp_path / "out" / "README").exists()
    as_tar = tarred(*((name, tarfile.REGTYPE, content) for name, content in FILES.items()))
    assert unpacked(tmp_path, as_tar) == {"a.jpg", "in/b.json", "c.txt"}


REGULAR = ("a.jpg", tarfile.REGTYPE, b"a")


@pytest.mark.parametrize(
    "content",
    [
        zipped({"a.jpg": b"a", "../evil": b"e"}),
        zipped({"a.jpg": b"a", "x/../../evil": b"e"}),
        zipped({"a.jpg": b"a", "/evil": b"e"}),
        zipped({"a.jpg": b"a", "..\\evil": b"e"}),
        zipped({"a.jpg": b"a", "C:\\evil": b"e"}),
        linked(),
        tarred(REGULAR, ("../evil", tarfile.REGTYPE, b"e")),
        tarred(REGULAR, ("/evil", tarfile.REGTYPE, b"e")),
        tarred(REGULAR, ("link", tarfile.SYMTYPE, b"a.jpg")),
        tarred(REGULAR, ("link", tarfile.LNKTYPE, b"a.jpg")),
        tarred(REGULAR, ("pipe", tarfile.FIFOTYPE, b"")),
    ],
)
def test_members_outside_and_links_are_refused_before_anything_is_written(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(MissingError, match="is refused"):
        unpacked(tmp_path, content)
    assert {path.name for path in tmp_path.rglob("*")} == {"archive", "out"}


def misnamed() -> bytes:
    """A name that says that it is UTF-8, and is not."""
    return zipped({"a.jpg": b"a", "é.jpg": b"e"}).replace("é.jpg".encode(), b"\xff\xff.jpg")


WHOLE = zipped({"a.jpg": b"a" * 1000})
TAR = tarred(("a.jpg", tarfile.REGTYPE, bytes(range(256)) * 40))
BZIP = tarred(("a.jpg", tarfile.REGTYPE, bytes(range(256)) * 40), compression="bz2")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        WHOLE[: len(WHOLE) // 2],
        WHOLE[:500] + b"b" + WHOLE[501:],
        TAR[: len(TAR) // 2],
        TAR[:-6] + bytes(6),
        misnamed(),
        BZIP[:30] + bytes(20) + BZIP[50:],
        zipped({"a.jpg": b"a", "x": b"file", "x/y": b"below it"}),
        zipped({"a.jpg": b"a", "n" * 300: b"a long name"}),
    ],
)
def test_damaged_archives(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(MissingError, match="damaged"):
        unpacked(tmp_path, content)


def test_another_archive(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"has no a\.jpg"):
        unpacked(tmp_path, zipped({"b.jpg": b"b"}))
