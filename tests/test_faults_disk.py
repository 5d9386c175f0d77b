"""A disk that is full, read-only or gone: one clear line, nothing damaged, and the same command then goes on."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from coco_tiny import noise, write_coco
from faults import Disk, contents, in_child, like_anybody, limit, mounted, shell
from faults import run as system
from photo_tiny import SIZE, save_tiny
from report_runs import COMMITTED
from store_runs import SAMPLES, evaluate, opened, tree, work

from agsm_bench.errors import MissingError, UserError

EVAL = ("eval", "counting", "--backbone", "shapes-unet", "--limit", 2, "--steps", 2, "--images-per-prompt", 2)
TRAIN = ("train", "agsm", "--backbone", "shapes-unet", "--steps", 3, "--batch", 2)
TRAIN += ("--save-every", 1, "--validate-every", 2, "--keep-every", 2)
GENEVAL = [COMMITTED / f"geneval-{name}" for name in ("shapes-mmdit", "agsm-shapes-mmdit-0")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, made in this process: children find the modules loaded."""
    from agsm_bench.cli.main import app

    folder = tmp_path_factory.mktemp("world")
    app([*map(str, EVAL), "--out", str(folder / "base")], standalone_mode=False)
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "disk") as disk:
        yield disk


def filling(disk: Disk, command: tuple[object, ...], step: int, out: str = "out") -> int:
    """The command on a full disk, again and again with a little more room, until it fits: how often it was refused."""
    for count in range(200):
        disk.leave(count * step)
        result = in_child(*command, "--out", disk.root / out)
        if result.code == 0:
            return count
        result.refused("No space left on device", "Free space there")
    raise AssertionError("it never fits")


def made(path: Path) -> dict[str, bytes]:
    return contents(path) if path.is_dir() else {"": path.read_bytes()}


def on_a_full_disk(disk: Disk, tmp_path: Path, command: tuple[object, ...], step: int, out: str) -> None:
    """Ends with the bytes of a call that had room, and holds nothing else."""
    roomy = tmp_path / "room"  # as deep, for links in pages
    roomy.mkdir()
    whole = in_child(*command, "--out", roomy / out)
    assert whole.code == 0, whole.error
    assert filling(disk, command, step, out) > 0
    disk.free()
    assert made(disk.root / out) == made(roomy / out)
    assert not [path for path in disk.root.rglob("*") if path.name.endswith((".part", ".partial"))]


LIGHT = {
    "table": (("report", "--table", 1, "--format", "md"), 8192, "table.md"),
    "baseline": (("baseline", GENEVAL[0]), 65536, "baseline.json"),
}
MORE = {
    "picture": (("report", "--figure", "geneval"), 262144, "figure.png"),
    "junit": (("compare", GENEVAL[0], "--baseline", GENEVAL[0], "--format", "junit"), 4096, "compare.xml"),
    "leaderboard": (("leaderboard", *GENEVAL, "--format", "csv"), 4096, "board.csv"),
    "claims": (("claims", "--format", "json"), 16384, "claims.json"),
}
FILES = [*LIGHT, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]


@pytest.mark.parametrize("name", FILES)
def test_a_file_on_a_full_disk(disk: Disk, tmp_path: Path, name: str) -> None:
    on_a_full_disk(disk, tmp_path, *(LIGHT | MORE)[name])


@pytest.mark.parametrize("name", FILES)
def test_a_full_disk_leaves_the_file_that_was_there(disk: Disk, name: str) -> None:
    command, _, out = (LIGHT | MORE)[name]
    (disk.root / out).write_text("of yesterday")
    disk.leave(0)
    in_child(*command, "--out", disk.root / out).refused("No space left on device")
    assert (disk.root / out).read_text() == "of yesterday"


def test_an_evaluation_on_a_full_disk(disk: Disk, world: Path) -> None:
    assert filling(disk, EVAL, 20480) > 1
    disk.free()
    assert made(disk.root / "out") == made(world / "base")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "step"),
    [
        (EVAL, 4096),
        (TRAIN, 16384),
        (("shapes", "preferences", "--backbone", "shapes-unet", "--pairs", 2, "--held-out", 2), 4096),
        (("report", "--all", "--format", "html"), 65536),
        (("report", "--figure", "geneval"), 65536),
        (("demo", "--steps", 2, "--limit", 2), 65536),
    ],
)
def test_a_folder_on_a_full_disk(
    disk: Disk, world: Path, tmp_path: Path, command: tuple[object, ...], step: int
) -> None:
    on_a_full_disk(disk, tmp_path, command, step, "out")


@pytest.mark.slow
def test_a_page_on_a_full_disk(disk: Disk, world: Path, tmp_path: Path) -> None:
    on_a_full_disk(disk, tmp_path, ("view", world / "base"), 8192, "out")


@pytest.mark.slow
def test_scores_on_a_full_disk(disk: Disk, world: Path, tmp_path: Path) -> None:
    images = ("score", "--images", world / "base/images", "--metrics", "shapes_clip/score")
    on_a_full_disk(disk, tmp_path, images, 4096, "out")
    for metrics in ((), ("--metrics", "psnr,shapes_clip/lpips", "--references", world / "base")):
        for folder in (disk.root / "run", tmp_path / "run"):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(world / "base", folder)
        for name in ("scores.jsonl", "summary.json", "detections.jsonl", "results.jsonl"):
            (disk.root / "run" / name).unlink()
        assert in_child("score", tmp_path / "run", *metrics).code == 0
        for free in range(0, 4096 * 40, 4096):
            disk.leave(free)
            result = in_child("score", disk.root / "run", *metrics)
            if result.code == 0:
                break
            result.refused("No space left on device", "Free space there")
        disk.free()
        assert in_child("score", disk.root / "run").code == 0
        assert in_child("score", tmp_path / "run").code == 0
        assert made(disk.root / "run") == made(tmp_path / "run")


@pytest.mark.slow
def test_latents_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Disk, world: Path) -> None:
    monkeypatch.setattr("agsm_bench.data.encode.PER_FILE", 2)
    model = save_tiny("sd15", tmp_path / "model")
    command = ("data", "encode", "--backbone", "sd15", "--model", model, "--size", SIZE)
    for root in (tmp_path / "data", disk.root / "data"):
        monkeypatch.setenv("AGSM_BENCH_DATA", str(root))
        write_coco(root, {"train2017": (3, 5, 8, 13, 21), "val2017": (2, 4)}, noise)
        for free in range(0, 4096 * 40, 4096) if root.is_relative_to(disk.root) else (None,):
            if free is not None:
                disk.leave(free)
            result = in_child(*command)
            if result.code == 0:
                break
            result.refused("AGSM_BENCH_DATA")
        assert result.code == 0
    disk.free()
    kept = [made(next((root / "data").rglob("*.safetensors")).parent) for root in (tmp_path, disk.root)]
    assert kept[0] == kept[1]


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    """Where nobody may mount; the limit stands for a quota."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    command, _, out = LIGHT["baseline"]
    result = in_child(*command, "--out", tmp_path / out, before=limit(resource.RLIMIT_FSIZE, 8192))
    result.refused("File too large", "ulimit -f")
    assert not [*tmp_path.iterdir()]


FULL = "/dev/full"


@pytest.mark.parametrize(
    "command", [("list",), ("prompts", "geneval"), ("report", "--all", "--format", "json"), ("data", "list")]
)
def test_a_full_standard_output(command: tuple[object, ...]) -> None:
    in_child(*command, streams={1: FULL}).refused("standard output", "No space left on device")


def test_a_full_standard_error() -> None:
    for command, code in ((("report", "--table", 99), 3), (("report",), 2)):
        assert in_child(*command, streams={2: FULL}).code in (2, code)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("agsm-bench prompts geneval | head -1; exit ${PIPESTATUS[0]}", 130),
        ("agsm-bench prompts geneval --domain photo | true; exit ${PIPESTATUS[0]}", 130),
        ("agsm-bench list > /dev/full", 2),
        ("agsm-bench list >&-", 0),
        ("agsm-bench list 2>&-", 0),
        ("agsm-bench report --table 99 2>&-", 2),
        ("agsm-bench report --table 99 2> /dev/full", 2),
        ("agsm-bench report <&- >&- 2>&-", 2),
    ],
)
def test_streams_that_are_closed_or_full(tmp_path: Path, line: str, code: int) -> None:
    """Whole processes: the interpreter flushes once more at its end."""
    result = shell(line, tmp_path)
    assert result.code == code, result.error
    assert "Traceback" not in result.error
    assert "Exception" not in result.error
    if code == 130:
        assert not result.error


def test_warnings_go_into_no_file(tmp_path: Path) -> None:
    """With the standard error closed the next file that is opened would be number 2, and get what libraries print."""
    out = tmp_path / "out.json"
    code = "import os, sys, agsm_bench.cli.main as main\n"
    code += "sys.argv = ['agsm-bench', '--version']\n"
    code += "try: main.main()\nexcept SystemExit: pass\n"
    code += f"data = open({str(out)!r}, 'w')\nos.write(2, b'a warning of a library')\ndata.write('data')\n"
    assert shell(f'"$PYTHON" -c "{code}" 2>&-', tmp_path, PYTHON=os.sys.executable).code == 0
    assert out.read_text() == "data"


@pytest.fixture
def reading(world: Path, disk: Disk) -> Path:
    """A run on a disk that only root's mount can make writable again."""
    shutil.copytree(world / "base", disk.root / "run")
    disk.read_only()
    return disk.root / "run"


def test_what_only_reads_needs_no_right_to_write(
    reading: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(reading)
    monkeypatch.chdir(tmp_path)
    for command in (
        ("compare", reading, "--baseline", reading),
        ("leaderboard", reading),
        ("baseline", reading, "--out", "baseline.json"),
        ("view", reading, "--out", "view"),
        ("report", "--table", 1, "--runs", reading),
    ):
        result = in_child(*command)
        assert result.code == 0, result.error
    assert contents(reading) == before


def test_what_writes_says_that_it_may_not(reading: Path, disk: Disk) -> None:
    for command in (
        (*EVAL, "--out", reading),
        (*EVAL, "--out", disk.root / "new"),
        ("score", reading),
        (*TRAIN, "--out", disk.root / "tokens"),
        ("view", reading, "--out", disk.root / "view"),
        ("report", "--table", 1, "--out", disk.root / "table.md"),
        ("report", "--all", "--out", disk.root / "tables"),
    ):
        in_child(*command).refused("Read-only file system", "Make it writable, or", "another --out")


def test_a_folder_without_the_right_to_write(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "base", tmp_path / "run")
    for folder in (tmp_path / "run", tmp_path):
        folder.chmod(0o555)
    assert in_child("compare", tmp_path / "run", "--baseline", tmp_path / "run", before=like_anybody).code == 0
    for command in (("score", tmp_path / "run"), (*EVAL, "--out", tmp_path / "new")):
        in_child(*command, before=like_anybody).refused("Permission denied", "Make it writable, or use another --out")
    in_child("report", "--table", 1, "--out", tmp_path / "t.md", before=like_anybody).refused("Permission denied")
    tmp_path.chmod(0o755)


def test_a_read_only_home(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches of matplotlib, the hub and torch are not needed for what ships with the package."""
    disk.read_only()
    home = str(disk.root)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "HF_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, home)
    result = shell("agsm-bench report --figure geneval --out figure.png", tmp_path)
    assert result.code == 0, result.error
    assert "Traceback" not in result.error
    result = shell("agsm-bench data get coco-captions", tmp_path, AGSM_BENCH_DATA=f"{home}/data")
    result.refused("Read-only file system", "AGSM_BENCH_DATA")


def renamed(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def emptied(folder: Path) -> None:
    """As a network folder that is unmounted: its place is there, and empty."""
    renamed(folder)
    folder.mkdir()


@pytest.mark.parametrize("gone", [renamed, emptied])
@pytest.mark.parametrize("done", [0, 2, 5])
def test_a_run_that_is_moved_away_is_not_begun_anew_at_its_place(
    tmp_path: Path, no_fsync: None, gone: Callable[[Path], None], done: int
) -> None:
    folder = tmp_path / "run"
    evaluate(tmp_path / "whole")
    with opened(folder) as run:
        work(run, SAMPLES[:done])
        gone(folder)
        with pytest.raises((UserError, MissingError), match="run"):
            work(run, SAMPLES)
        with pytest.raises((UserError, MissingError), match="go on"):
            run.finalise({})
    assert not folder.exists() or not [*folder.iterdir()]
    shutil.rmtree(folder, ignore_errors=True)
    (tmp_path / "elsewhere").rename(folder)
    evaluate(folder)
    assert tree(folder) == tree(tmp_path / "whole")


def test_a_run_whose_disk_is_unmounted_does_not_go_on_below_it(tmp_path: Path, no_fsync: None) -> None:
    with mounted(tmp_path / "run"), opened(tmp_path / "run") as run:
        work(run, SAMPLES[:2])
        system("umount", "-l", tmp_path / "run")
        with pytest.raises(MissingError, match=r"has lost its manifest\.json"):
            work(run, SAMPLES)
    assert not [*(tmp_path / "run").iterdir()]


@pytest.mark.parametrize("gone", [renamed, emptied])
def test_a_training_that_is_moved_away_is_not_begun_anew_at_its_place(
    tmp_path: Path, gone: Callable[[Path], None]
) -> None:
    from agsm_bench.demo import train_tokens

    def leave(phase: str, done: int, total: int) -> None:
        if done == 1:
            gone(tmp_path / "tokens")

    with pytest.raises(MissingError, match=r"has lost its train\.jsonl.*go on"):
        train_tokens(tmp_path / "tokens", 3, leave)
    assert not (tmp_path / "tokens").exists() or not [*(tmp_path / "tokens").iterdir()]
