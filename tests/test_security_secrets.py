"""Secrets of the environment, of flags and of addresses are in no byte that a command writes or prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmark_data import details, write_unigenbench
from conftest import Cli
from judge_server import JudgeServer, judging
from photo_tiny import SIZE

from agsm_bench.errors import UserError
from agsm_bench.provenance import provenance
from agsm_bench.redaction import redacted
from agsm_bench.unigenbench.endpoint import completions_url, key_from_environment

SECRETS = {
    "HF_TOKEN": "hf_envSecretEnvSecret01",
    "HUGGING_FACE_HUB_TOKEN": "hf_envSecretEnvSecret02",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "OPENAI_API_KEY": "sk-envSecretEnvSecret03",
    "AGSM_BENCH_JUDGE_KEY": "judge-envSecret-04",
}
TYPED = ("hf_typedSecretTyped05", "typed-secret-06", "typed-secret-07")
ROWS = [("0", "A fox in ink.", details(["Style"], ["ink"]))]
SMALL = ("--limit", 1, "--images-per-prompt", 1, "--steps", 1)


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    with judging(JudgeServer()) as judge:
        yield judge


def leaks(folder: Path, *said: str) -> list[str]:
    """Where a secret is, in the files of a folder, in their names, or in what was printed."""
    places = {"printed": "".join(said).encode()}
    places |= {str(path): path.read_bytes() + str(path).encode() for path in folder.rglob("*") if path.is_file()}
    return [place for place, data in places.items() if any(s.encode() in data for s in (*SECRETS.values(), *TYPED))]


def test_commands_leak_nothing(cli: Cli, tmp_path: Path) -> None:
    backbone, run, tokens = ("--backbone", "shapes-unet"), tmp_path / "run", tmp_path / "tokens"
    train = ("train", "agsm", *backbone, "--batch", 1, "--steps", 1, "--tracker", "tensorboard", "--out", tokens)
    for command in (
        train,
        ("eval", "geneval", *backbone, *SMALL, "--tokens", tokens, "--out", run),
        ("score", run, "--metrics", "shapes_clip/score"),
        ("push", tokens, "me/tokens", "--results", run, "--dry-run"),
        ("view", run, "--out", tmp_path / "view"),
        ("doctor", "--out", run),
        ("report", "--table", 1),
    ):
        code, *said = cli(*command)
        assert code == 0, (command, said)
        assert leaks(tmp_path, *said) == [], command


def test_failures_leak_nothing(cli: Cli, tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    token, login, key = TYPED
    address = f"https://me:{login}@example.invalid/v1?api_key={key}"
    model = ("--backbone", "sd15", "--model", tiny_models["sd15"], "--size", SIZE, "--device", "cpu")
    unigen = ("eval", "unigenbench", *model, *SMALL, "--metrics", "", "--out", tmp_path / "run")
    write_unigenbench(tmp_path / "data", ROWS)
    for command in (
        (*unigen, "--judge-url", address),
        (*unigen, "--judge-url", f"ftp://me:{login}@host"),
        (*unigen, "--judge-url", "http://127.0.0.1:1/v1?api_key=" + key, "--judge-retries", 0),
        ("eval", "geneval", "--backbone", "sd15", "--model", address, "--out", tmp_path / "run"),
        ("eval", "geneval", "--backbone", "sd15", "--model", f"me/{token}", "--out", tmp_path / "run"),
        ("push", tmp_path / token, "me/tokens"),
        ("view", tmp_path / token),
        ("doctor", "--backbone", "sd15", "--model", f"me/{token}"),
        ("train", "agsm", "--backbone", "shapes-unet", f"--api-key={key}"),
        ("train", "agsm", "--backbone", "shapes-unet", "--token", token),
    ):
        code, *said = cli(*command)
        assert code in (2, 3), (command, said)
        assert leaks(tmp_path, *said) == [], command
        assert "Traceback" not in "".join(said)


def test_a_run_with_a_judge_keeps_no_key_of_it(
    cli: Cli, tmp_path: Path, tiny_models: dict[str, Path], judge: JudgeServer
) -> None:
    write_unigenbench(tmp_path / "data", ROWS)
    model = ("--backbone", "sd15", "--model", tiny_models["sd15"], "--size", SIZE, "--device", "cpu")
    how = ("--judge-url", f"{judge.url}?api_key={TYPED[2]}", "--judge-model", "judge", "--metrics", "")
    code, *said = cli("eval", "unigenbench", *model, *SMALL, *how, "--out", tmp_path / "run")
    assert code == 0, said
    assert judge.headers[0]["Authorization"] == f"Bearer {SECRETS['AGSM_BENCH_JUDGE_KEY']}"
    assert leaks(tmp_path, *said) == []
    assert "api_key=***" in (tmp_path / "run" / "manifest.json").read_text()


def test_the_command_is_noted_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["https://me:typed-secret-06@host/v1?a=b&api-key=typed-secret-07&c=d", TYPED[0], SECRETS["WANDB_API_KEY"]]
    monkeypatch.setattr("sys.argv", ["agsm-bench", "eval", *words, "--steps", "20"])
    noted = provenance()["command"]
    assert noted == "agsm-bench eval 'https://***@host/v1?a=b&api-key=***&c=d' *** *** --steps 20"


@pytest.mark.parametrize(
    "text",
    [
        *("agsm-bench eval geneval --backbone shapes-mmdit --seed 3", "stabilityai/sdxl@0123abc", "a@b.c", "sk-learn"),
        *("https://huggingface.co/a/b?download=true", "hf_hub_download", "runs/hf_xet", "--set tokens_on=both"),
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_login_in_the_judges_address_is_refused() -> None:
    with pytest.raises(UserError, match="holds a login") as caught:
        completions_url("https://me:mine@host/v1")
    assert "mine" not in str(caught.value)


def test_openais_key_goes_to_no_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be in the environment for other programs; a server's own key is for that server."""
    own = SECRETS["AGSM_BENCH_JUDGE_KEY"]
    assert key_from_environment("http://node7:8000/v1") == own
    monkeypatch.delenv("AGSM_BENCH_JUDGE_KEY")
    assert key_from_environment("http://node7:8000/v1") is None
    for address in ("https://node7/v1", "http://localhost:8000/v1", "http://127.0.0.1/v1", "http://[::1]:8000/v1"):
        assert key_from_environment(address) == SECRETS["OPENAI_API_KEY"]
