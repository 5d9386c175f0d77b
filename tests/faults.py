"""Real faults for the tests: disks that fill up or go, limits of a process, other processes; each in a child."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from agsm_bench.cli.main import main

ENDINGS = {0, 1, 2, 3, 130}
"""Exit codes that the design names."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    error: str

    @property
    def said(self) -> str:
        """The line of an error, in one piece."""
        return " ".join(self.error.split())

    def refused(self, *words: str) -> None:
        """Asserts one clear line: neither fine nor a regression, no traceback, and these words."""
        assert self.code in ENDINGS - {0, 1}, (self.code, self.error)
        assert "Traceback" not in self.error + self.out, self.error
        assert "agsm-bench: " in self.said, self.error
        assert len(self.error.partition("agsm-bench: ")[2].strip().splitlines()) == 1, self.error
        for word in words:
            assert word in self.said, self.error


def in_child(
    *arguments: object, before: Callable[[], object] = lambda: None, streams: Mapping[int, str] | None = None
) -> Ended:
    """`agsm-bench ARGUMENTS` in a fork of this process, which has its modules loaded; `before` breaks it first.

    `streams`: files in place of the standard output (1) or error (2).
    """
    pid, folder = _forked(arguments, before, streams or {})
    return ended(pid, folder)


def ended(pid: int, folder: Path) -> Ended:
    """Waits for a child of `started`."""
    _, status = os.waitpid(pid, 0)
    texts = [path.read_text(errors="replace") if (path := folder / name).exists() else "" for name in ("1", "2")]
    shutil.rmtree(folder)
    return Ended(os.waitstatus_to_exitcode(status), *texts)


def started(*arguments: object, before: Callable[[], object] = lambda: None) -> tuple[int, Path]:
    """As `in_child`, without waiting: for `ended`."""
    return _forked(arguments, before, {})


def _forked(
    arguments: tuple[object, ...], before: Callable[[], object], streams: Mapping[int, str]
) -> tuple[int, Path]:
    folder = Path(tempfile.mkdtemp(prefix="agsm-faults-"))
    sys.stdout.flush()
    if pid := os.fork():
        return pid, folder
    try:
        torch.set_num_threads(1)  # a fork has no pool of threads
        for number in (1, 2):
            path = streams.get(number, str(folder / str(number)))
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        before()
        sys.argv = ["agsm-bench", *map(str, arguments)]
        code = _main()
    except BaseException:
        traceback.print_exc()
        code = 99
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _main() -> int:
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def shell(command: str, folder: Path, **environment: str) -> Ended:
    """A line for bash, in a folder; `agsm-bench` in it is this checkout's."""
    own = f'agsm-bench() {{ "{sys.executable}" -m agsm_bench "$@"; }}; '
    done = subprocess.run(
        ["bash", "-c", own + command], cwd=folder, capture_output=True, text=True, env=os.environ | environment
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def preloaded(code: str, folder: Path, **environment: str) -> Ended:
    """A fresh Python's code, with other environment variables."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=os.environ | environment
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def limit(which: int, number: int) -> Callable[[], None]:
    """For `before`: a limit of the process, e.g. RLIMIT_NOFILE."""
    return lambda: resource.setrlimit(which, (number, resource.getrlimit(which)[1]))


def like_anybody() -> None:
    """For `before`: root keeps its number, and loses the right to write everywhere."""
    version, nothing = 0x20080522, (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(version, 0), nothing)


@dataclass
class Disk:
    """A small file system of our own."""

    root: Path

    def leave(self, free: int) -> None:
        """Fills it until so many bytes, in pages, are free."""
        ballast = self.root / ".ballast"
        ballast.touch()
        there = os.statvfs(self.root)
        wanted = ballast.stat().st_size + there.f_bavail * there.f_frsize - free
        with ballast.open("r+b") as stream:
            stream.truncate(0)
            stream.write(b"\1" * max(0, wanted // there.f_frsize * there.f_frsize))

    def free(self) -> None:
        """Gives all of it back."""
        (self.root / ".ballast").unlink(missing_ok=True)

    def read_only(self, yes: bool = True) -> None:
        """For root, too."""
        run("mount", "-o", f"remount,{'ro' if yes else 'rw'}", self.root)


@contextmanager
def mounted(root: Path, size: str = "8m") -> Iterator[Disk]:
    """A tmpfs; skips the test where this process may not mount."""
    root.mkdir(exist_ok=True)
    try:
        run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", root)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"no file system can be mounted here: {getattr(error, 'stderr', error)}")
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", "-l", root], capture_output=True)


def run(*command: object) -> None:
    """A command of the system; raises where it fails."""
    subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run, a training or a page, but what says when and how it was made."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    named = {path.relative_to(folder).as_posix(): path for path in files}
    apart = ("manifest.json", "config.json", ".lock", ".part", ".holder")
    return {name: _content(path) for name, path in named.items() if not name.endswith(apart)}


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.name == "report.html":  # the demo's ends with how it was made
        return data.partition(b" --out ")[0]
    if path.name != "summary.json":
        return data
    summary = json.loads(data)
    apart = ("provenance", "sha256") if "provenance" in summary else ()  # the seal is over both
    return json.dumps({key: value for key, value in summary.items() if key not in apart}).encode()
