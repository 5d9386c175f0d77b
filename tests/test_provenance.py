"""What a run notes about the process that made it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import agsm_bench
from agsm_bench.provenance import git_state, provenance


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    package = tmp_path / "repo" / "agsm_bench"
    package.mkdir(parents=True)
    (package / "a.py").write_text("1")
    git(tmp_path / "repo", "init", "-q")
    git(tmp_path / "repo", "add", ".")
    git(tmp_path / "repo", "commit", "-qm", "a")
    return package


def test_it_notes_versions_command_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["agsm-bench", "eval", "two words"])
    before = datetime.now(UTC).replace(microsecond=0)
    noted = provenance("cpu")
    assert before <= datetime.fromisoformat(noted["started"]) <= datetime.now(UTC)
    assert noted["started"].endswith("+00:00")
    assert (noted["command"], noted["device"]) == ("agsm-bench eval 'two words'", "cpu")
    assert noted["agsm_bench"] == agsm_bench.__version__
    assert all(noted["packages"][name] for name in ("torch", "diffusers", "numpy"))
    assert json.loads(json.dumps(noted)) == noted


def test_it_tells_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    assert "hf_verysecret" not in json.dumps(provenance())


def test_a_package_that_is_not_installed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agsm_bench.provenance.PACKAGES", ("no-such-package",))
    assert provenance()["packages"] == {"no-such-package": None}


def test_a_checkout_has_its_commit_and_is_dirty_once_changed(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_state(checkout) == {"commit": commit, "dirty": False}
    (checkout / "b.py").write_text("1")
    assert git_state(checkout) == {"commit": commit, "dirty": True}


def test_somebody_elses_repository_is_not_ours(checkout: Path, tmp_path: Path) -> None:
    installed = checkout.parent / "venv" / "site-packages" / "agsm_bench"
    installed.mkdir(parents=True)
    assert git_state(installed) is None
    assert git_state(tmp_path) is None


def test_without_git_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) is None


@pytest.mark.parametrize("module", ["identity", "provenance", "store", "shards"])
def test_no_torch_is_imported(module: str) -> None:
    code = f"import sys, agsm_bench.{module}; assert not {{'torch', 'diffusers'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
