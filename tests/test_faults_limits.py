"""Too few files, too little memory, a disk that fails while it is read: a clear line, and nothing false is kept."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults import contents, in_child, limit
from report_runs import COMMITTED

from agsm_bench import faults
from agsm_bench.errors import MissingError, UserError

EVAL = ("eval", "counting", "--backbone", "shapes-unet", "--limit", 2, "--steps", 2, "--images-per-prompt", 2)
TRAIN = ("train", "agsm", "--backbone", "shapes-unet", "--steps", 2, "--batch", 4, "--validate-every", 2)
RUN = COMMITTED / "geneval-shapes-mmdit"
SCORES = ("--metrics", "shapes_clip/score,psnr")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and its scores as pictures, made in this process: children find the modules loaded."""
    from agsm_bench.cli.main import app

    folder = tmp_path_factory.mktemp("world")
    app([*map(str, EVAL), "--out", str(folder / "base")], standalone_mode=False)
    app([*map(str, scoring(folder)), "--out", str(folder / "scores")], standalone_mode=False)
    return folder


def scoring(world: Path) -> tuple[object, ...]:
    return ("score", "--images", world / "base/images", *SCORES, "--references", world / "base")


def files_left(number: int) -> Callable[[], None]:
    """For `before`: so many more files can be open than are."""

    def lower() -> None:
        there = max(map(int, os.listdir("/proc/self/fd")))
        while (last := os.open(os.devnull, os.O_RDONLY)) < there:
            pass  # the gaps between those that are open
        limit(resource.RLIMIT_NOFILE, last + 1 + number)()

    return lower


def memory_left(megabytes: int) -> Callable[[], None]:
    """For `before`: so much more may be allocated than is."""

    def lower() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit(resource.RLIMIT_AS, pages * resource.getpagesize() + megabytes * 2**20)()

    return lower


def goes_on(
    command: tuple[object, ...], whole: Path, out: Path, limits: list[Callable[[], None]], *words: str
) -> list[int]:
    """Under one limit after another, each of which is refused clearly or is enough, and then without; the codes."""
    codes = []
    for lower in limits:
        result = in_child(*command, "--out", out, before=lower)
        codes.append(result.code)
        if result.code:
            result.refused(*words)
        else:
            assert contents(out) == contents(whole)
    assert in_child(*command, "--out", out).code == 0
    assert contents(out) == contents(whole)
    return codes


def test_few_files_while_evaluating(world: Path, tmp_path: Path) -> None:
    few = [files_left(number) for number in (0, 1, 2, 3, 8)]
    assert 2 in goes_on(EVAL, world / "base", tmp_path / "out", few, "Too many open files", "ulimit -n")


def test_few_files_while_scoring_pictures(world: Path, tmp_path: Path) -> None:
    """A picture that could not be opened is not unscored: that would stay."""
    few = [files_left(number) for number in (0, 1, 2, 3, 8)]
    codes = goes_on(scoring(world), world / "scores", tmp_path / "out", few, "Too many open files", "ulimit -n")
    assert 2 in codes


@pytest.mark.slow
def test_many_runs_with_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hundred runs, and no more than a few files open at once."""
    for number in range(300):
        folder = tmp_path / "runs" / f"run-{number}"
        folder.mkdir(parents=True)
        for path in RUN.iterdir():
            (folder / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    for command in (
        ("report", "--table", 1),
        ("leaderboard", "--no-merge", *sorted((tmp_path / "runs").iterdir())[:100]),
        ("compare", RUN, "--baseline", RUN),
        ("reproduce", "--table", 6, "--dry-run"),
    ):
        result = in_child(*command, before=files_left(16))
        assert result.code == 0, result.error
    in_child("report", "--table", 1, before=files_left(0)).refused("Too many open files", "ulimit -n")


def test_a_batch_too_large_for_the_memory(tmp_path: Path, world: Path) -> None:
    """What the words advise helps: a smaller batch goes on."""
    many = (*EVAL, "--limit", 1, "--images-per-prompt", 256, "--metrics", "none", "--out", tmp_path / "out")
    in_child(*many, "--batch-size", 256, before=memory_left(16)).refused("Out of memory", "--batch-size")
    result = in_child(*many, "--batch-size", 16, before=memory_left(64))
    assert result.code == 0, result.error


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [1, 2, 3, 4, 6, 8, 16])
def test_little_memory(world: Path, tmp_path: Path, megabytes: int) -> None:
    little = [memory_left(megabytes)]
    goes_on(EVAL, world / "base", tmp_path / "out", little, "emory")
    goes_on(scoring(world), world / "scores", tmp_path / "sheet", little, "emory")
    assert in_child(*TRAIN, "--out", tmp_path / "whole").code == 0
    goes_on(TRAIN, tmp_path / "whole", tmp_path / "tokens", little, "emory")


def failing(number: int, part: str) -> Callable[[], None]:
    """For `before`: reading a path with `part` fails, as on a network folder whose server has gone."""

    def hook() -> None:
        real = Path.read_bytes

        def read_bytes(path: Path) -> bytes:
            if part in str(path):
                raise OSError(number, os.strerror(number), str(path))
            return real(path)

        Path.read_bytes = read_bytes  # type: ignore[method-assign]

    return hook


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_pictures_on_a_disk_that_has_gone_are_not_unscored(world: Path, tmp_path: Path, number: int) -> None:
    for part in ("base/images", ".png"):
        result = in_child(*scoring(world), "--out", tmp_path / "out", before=failing(number, part))
        result.refused(os.strerror(number), ".png", "disk or network folder", "go on")
    assert in_child(*scoring(world), "--out", tmp_path / "out").code == 0
    assert contents(tmp_path / "out") == contents(world / "scores")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_file_that_cannot_be_read_now_is_not_called_damaged(world: Path, tmp_path: Path, number: int) -> None:
    shutil.copytree(world / "base", tmp_path / "run")
    result = in_child("score", tmp_path / "run", before=failing(number, "manifest.json"))
    result.refused("manifest.json cannot be used", os.strerror(number))
    assert "damaged" not in result.error
    assert contents(tmp_path / "run") == contents(world / "base")


def test_a_score_that_fails_for_want_of_memory_is_not_kept(world: Path, tmp_path: Path) -> None:
    def hungry() -> None:
        from agsm_bench.metrics import shapes_clip

        def judge(self: Any, name: str, inputs: Any) -> Any:
            import torch

            return torch.empty(2**48)

        for each in vars(shapes_clip).values():
            if isinstance(each, type) and "judge" in vars(each):
                each.judge = judge

    result = in_child(*scoring(world), "--out", tmp_path / "out", before=hungry)
    result.refused("Out of memory: you tried to allocate 1125899906842624 bytes.", "--batch-size")
    assert not (tmp_path / "out/scores.jsonl").exists()
    assert in_child(*scoring(world), "--out", tmp_path / "out").code == 0
    assert contents(tmp_path / "out") == contents(world / "scores")


def test_no_more_threads() -> None:
    """Root has no limit of processes; a child that is nobody has."""
    if os.getuid() != 0:
        pytest.skip("the limit counts all processes of the user")
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        os.setgid(65534)
        os.setuid(65534)
        limit(resource.RLIMIT_NPROC, 0)()
        try:
            threading.Thread(target=int).start()
        except RuntimeError as error:
            os.write(writing, str(faults.told(error)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    assert "ulimit -u" in os.read(reading, 1000).decode()
    os.close(reading)


def test_what_the_machine_denies() -> None:
    """What others' words mean; and what is a programmer's, or truly damaged, is left alone."""
    error = faults.told(Exception("Error while serializing: I/O error: No space left on device (os error 28)"))
    assert "Free space there" in str(error)
    assert faults.told(ValueError("a bug")) is None
    damaged = MissingError("x is damaged.", "Restore it.")
    damaged.__cause__ = ValueError("no JSON")
    assert faults.told(damaged) is damaged
    damaged.__cause__ = MemoryError()
    assert "Out of memory" in str(faults.told(damaged))
    assert isinstance(faults.told(PermissionError(13, "Permission denied", "file")), UserError)
