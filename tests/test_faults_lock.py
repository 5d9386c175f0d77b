"""Two processes on one folder: the second says who has it; a dead one's lock does not block, a moved clock neither."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from coco_tiny import noise, write_coco
from data_server import zipped
from faults import Ended, contents, in_child, preloaded, started
from faults import ended as end_of
from photo_tiny import SIZE, save_tiny
from report_runs import COMMITTED
from store_runs import SAMPLES, evaluate, opened, tree, work

from agsm_bench.data import table
from agsm_bench.data.table import Dataset
from agsm_bench.errors import UserError
from agsm_bench.locking import alone

EVAL = ("eval", "counting", "--backbone", "shapes-unet", "--limit", 2, "--steps", 2, "--images-per-prompt", 2)
TRAIN = ("train", "agsm", "--backbone", "shapes-unet", "--steps", 2, "--batch", 2, "--validate-every", 2)
PREFERENCES = ("shapes", "preferences", "--backbone", "shapes-unet", "--pairs", 2, "--held-out", 2)
RUN = COMMITTED / "geneval-shapes-mmdit"


@contextmanager
def held(lock: Path, command: str = "agsm-bench eval geneval --out it") -> Iterator[int]:
    """Another process that holds the lock until the end of the block; its number."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    ready, go = os.pipe(), os.pipe()
    if not (pid := os.fork()):
        os.close(go[1])
        try:
            import sys

            sys.argv = command.split()
            with alone(lock, lock.parent):
                os.write(ready[1], b"1")
                os.read(go[0], 1)
        finally:
            os._exit(0)
    os.close(go[0])
    os.read(ready[0], 1)
    try:
        yield pid
    finally:
        os.close(go[1])
        os.waitpid(pid, 0)
        os.close(ready[0]), os.close(ready[1])


def blocked(result: Ended, pid: int) -> None:
    result.refused(f"is being written by process {pid} on {os.uname().nodename} since 20", ": agsm-bench eval geneval")


@pytest.mark.parametrize(
    ("command", "lock"),
    [
        (EVAL, ".lock"),
        (TRAIN, ".lock"),
        (PREFERENCES, ".lock"),
        (("view", RUN), ".lock"),
        (("score", "--images", "pictures", "--metrics", "psnr", "--references", "pictures"), ".lock"),
        (("reproduce", "--table", 6), ".reproduce.lock"),
        (("demo", "--steps", 2, "--limit", 2), "tokens/.lock"),
    ],
)
def test_the_second_says_who_has_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[object, ...], lock: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    noise(1).save("pictures/1.png")
    with held(tmp_path / "out" / lock) as pid:
        blocked(in_child(*command, "--out", tmp_path / "out"), pid)


def test_the_second_score_of_a_run_says_who_has_it(tmp_path: Path, no_fsync: None) -> None:
    evaluate(tmp_path / "run")
    with held(tmp_path / "run/.lock") as pid:
        blocked(in_child("score", tmp_path / "run"), pid)
        for command in (
            ("compare", tmp_path / "run", "--baseline", tmp_path / "run"),
            ("leaderboard", tmp_path / "run"),
        ):
            assert "being written" not in in_child(*command).error  # those that read do not wait


def test_the_second_of_two_that_get_or_encode_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "data"))
    with held(tmp_path / "data/.parts/coco-captions.lock") as pid:
        blocked(in_child("data", "get", "coco-captions", "--from", __file__), pid)
    write_coco(tmp_path / "data", {"train2017": (3, 5), "val2017": (2,)}, noise)
    encode = ("data", "encode", "--backbone", "sd15", "--model", save_tiny("sd15", tmp_path / "model"), "--size", SIZE)
    assert in_child(*encode, "--shard", "0/2").code == 0
    folder = next((tmp_path / "data").rglob("*.safetensors")).parent
    with held(folder / ".0-of-2.lock") as pid:
        blocked(in_child(*encode, "--shard", "0/2"), pid)
        assert in_child(*encode, "--shard", "1/2").code == 0  # two parts at once are what they are for


def test_the_lock_of_a_dead_process_does_not_block(tmp_path: Path, no_fsync: None) -> None:
    with held(tmp_path / "run/.lock") as pid:
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        while Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z":
            time.sleep(0.01)
        assert (tmp_path / "run/.lock.holder").read_text().startswith(f"process {pid} ")
        evaluate(tmp_path / "run")
    assert not (tmp_path / "run/.lock.holder").exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_folder_without_locks(tmp_path: Path, number: int) -> None:
    """As on some network folders; the kernel's answer is the only thing put in its place."""

    def without() -> None:
        import fcntl

        def flock(fd: int, operation: int) -> None:
            raise OSError(number, os.strerror(number))

        fcntl.flock = flock

    result = in_child("view", RUN, "--out", tmp_path / "out", before=without)
    result.refused(f"Files in {tmp_path / 'out'} cannot be locked", "Mount it with locks, or use another --out")


def test_two_at_once(tmp_path: Path, no_fsync: None) -> None:
    """One of them works, the other ends at once; never do both write."""
    evaluate(tmp_path / "whole")
    for _ in range(10):
        children = []
        for _ in range(3):
            if not (pid := os.fork()):
                code = 1
                try:
                    evaluate(tmp_path / "run")
                    code = 0
                except UserError as error:
                    code = 2 if "is being written by" in str(error) else 1
                finally:
                    os._exit(code)
            children.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        assert 0 in codes
        assert set(codes) <= {0, 2}
        assert tree(tmp_path / "run") == tree(tmp_path / "whole")
        shutil.rmtree(tmp_path / "run")


def test_two_write_one_file(tmp_path: Path) -> None:
    """Nobody locks a file that --out names: it is one of the two, whole."""
    command = ("report", "--all", "--format", "json", "--out", tmp_path / "folder")
    children = [started(*command) for _ in range(3)]
    assert [end_of(*child).code for child in children] == [0, 0, 0]
    assert len([*(tmp_path / "folder").iterdir()]) == 13


def test_two_that_get_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"top/val/{i}.jpg": bytes([i]) * 5000 for i in range(40)}
    archive = zipped(files)
    (tmp_path / "tiny.zip").write_bytes(archive)
    checksum = f"md5:{hashlib.md5(archive).hexdigest()}"
    tiny = Dataset("tiny", "files", "none", "", "", len(archive), checksum, "tiny/val", "0.jpg", files=40)
    monkeypatch.setattr(table, "DATASETS", {"tiny": tiny})
    monkeypatch.setattr("agsm_bench.cli.data.DATASETS", {"tiny": tiny})
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "data"))
    children = [started("data", "get", "tiny", "--from", tmp_path / "tiny.zip") for _ in range(3)]
    ends = [end_of(*child) for child in children]
    assert 0 in [end.code for end in ends], ends[0].error
    for end in ends:
        if end.code:
            end.refused("tiny is being written by process", "Wait until it ends")
    assert len([*(tmp_path / "data/tiny/val").iterdir()]) == 40


SHIFTED = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long shift(void) { /* back and forth with every call */
  static int calls;
  const char *s = getenv("CLOCK_SHIFT");
  long by = s ? atol(s) : 0;
  return calls++ % 2 ? by : -by;
}
int clock_gettime(clockid_t id, struct timespec *t) {
  int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
  int r = real(id, t);
  if (!r && id == CLOCK_REALTIME) t->tv_sec += shift();
  return r;
}
time_t time(time_t *t) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) *t = now.tv_sec;
  return now.tv_sec;
}
int gettimeofday(struct timeval *t, void *z) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return 0;
}
"""
YEARS = 30 * 365 * 86400


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library to preload, with which the clock on the wall jumps by CLOCK_SHIFT seconds at every look."""
    if not shutil.which("gcc"):
        pytest.skip("no compiler for a clock that jumps")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(SHIFTED)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "clock.so", "clock.c", "-ldl"], cwd=folder, check=True)
    return folder / "clock.so"


def test_the_clock_jumps(tmp_path: Path, clock: Path) -> None:
    code = "import time, datetime; a = [datetime.datetime.now().year for _ in range(2)]; print(abs(a[0] - a[1]))"
    jumping = {"LD_PRELOAD": str(clock), "CLOCK_SHIFT": str(YEARS // 2)}
    assert int(preloaded(code, tmp_path, **jumping).out) >= 29
    commands = (("view", RUN, "--out", tmp_path / "view"), ("report", "--table", 1), ("prompts", "geneval"))
    for command in commands:
        plain, jumped = (preloaded(main_of(*command), tmp_path, **given) for given in ({}, jumping))
        assert (jumped.code, jumped.out) == (plain.code, plain.out) == (0, plain.out), jumped.error


def main_of(*command: object) -> str:
    words = ["agsm-bench", *map(str, command)]
    return f"import sys; sys.argv = {words!r}; from agsm_bench.cli.main import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize("command", [EVAL, TRAIN, PREFERENCES])
def test_nothing_depends_on_the_clock(tmp_path: Path, clock: Path, command: tuple[object, ...]) -> None:
    jumping = {"LD_PRELOAD": str(clock), "CLOCK_SHIFT": str(YEARS // 2)}
    for name, given in (("plain", {}), ("jumped", jumping)):
        result = preloaded(main_of(*command, "--out", tmp_path / name), tmp_path, **given)
        assert result.code == 0, result.error
    assert contents(tmp_path / "plain") == contents(tmp_path / "jumped")


@pytest.mark.parametrize("age", [lambda _: 4e9, lambda _: 0.0, lambda n: 4e9 - n])
def test_nothing_depends_on_the_times_of_files(tmp_path: Path, no_fsync: None, age: Callable[[int], float]) -> None:
    evaluate(tmp_path / "whole")
    with opened(tmp_path / "run") as run:
        work(run, SAMPLES[:3])
    for number, path in enumerate(sorted((tmp_path / "run").rglob("*"))):
        os.utime(path, (age(number), age(number)))
    evaluate(tmp_path / "run")
    assert tree(tmp_path / "run") == tree(tmp_path / "whole")
