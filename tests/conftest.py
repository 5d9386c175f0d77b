"""What several test files need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agsm_bench.report.files import results_dir

if TYPE_CHECKING:
    from kill_scenes import Scenes

os.environ.setdefault("HF_HUB_OFFLINE", "1")

Cli = Callable[..., tuple[int, str, str]]
Eval = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session", autouse=True)
def _few_held_out_pairs() -> Iterator[None]:
    """A small set for the denoising error: the evaluations of the tests would else take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agsm_bench.metrics.denoising.GROUPS", 2)
        yield


@pytest.fixture(scope="module")
def no_fsync() -> Iterator[None]:
    """For tests that write many small runs: waiting for the disk would be most of their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs the command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        from agsm_bench.cli.main import main

        monkeypatch.setattr("sys.argv", ["agsm-bench", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as exit:
            code = int(exit.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published tables with no measured runs, and an empty folder to work in."""
    results = tmp_path / "results"
    results.mkdir()
    for name in ("paper", "tables"):
        (results / name).symlink_to(results_dir() / name)
    monkeypatch.setenv("AGSM_BENCH_RESULTS", str(results))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the tiny pipelines by their backbone's name; to be copied before they are changed."""
    from photo_tiny import MAKERS, save_tiny

    return {name: save_tiny(name, tmp_path_factory.mktemp(name)) for name in MAKERS}


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Iterator[Scenes]:
    """Small commands to be killed and interrupted."""
    from kill_scenes import scenes

    with scenes(tmp_path_factory.mktemp("scenes"), tiny_models) as made:
        yield made


@pytest.fixture
def evaluate_tiny(cli: Cli, tmp_path: Path) -> Eval:
    """One small image of a backbone of photographs: the exit code, and stderr in one line; nothing is left of it."""
    from photo_tiny import SIZE

    def run(backbone: str, *arguments: object) -> tuple[int, str]:
        small = ("--limit", 1, "--images-per-prompt", 1, "--steps", 1, "--size", SIZE, "--device", "cpu")
        code, _, error = cli("eval", "geneval", "--backbone", backbone, *small, *arguments, "--out", tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return code, " ".join(error.split())

    return run
