"""`agsm-bench push` without a network: the files it would upload, the card, and how it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Cli
from huggingface_hub import ModelCard

from agsm_bench.push import bundle
from agsm_bench.report.files import results_dir
from agsm_bench.tokens import SoftTokens, save_tokens
from agsm_bench.tokens.header import TokensConfig

MINI, RUN = "agsm-shapes-mmdit-0", "geneval-agsm-shapes-mmdit-0"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def tokens() -> Path:
    return results_dir() / "runs" / MINI


def photo_tokens(folder: Path, model: str) -> Path:
    training = {"trainer": "agsm", "steps": 10, "model": {"model": model, "dtype": "float16"}}
    save_tokens(SoftTokens(TokensConfig(backbone="sd15", placement="unet", dim=768)), folder, training)
    return folder


def test_the_files(tokens: Path) -> None:
    files = bundle(tokens, "me/mini", "apache-2.0", [])
    assert set(files) == {"README.md", "soft_tokens.safetensors"}
    assert files["soft_tokens.safetensors"] == (tokens / "soft_tokens.safetensors").read_bytes()


def test_the_header_is_what_the_hub_reads(tmp_path: Path) -> None:
    folder = photo_tokens(tmp_path, f"stable-diffusion-v1-5/stable-diffusion-v1-5@{COMMIT}")
    card = ModelCard(bundle(folder, "me/tokens", "apache-2.0", [])["README.md"].decode())
    assert card.data.base_model == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert card.data.license == "apache-2.0"
    assert card.data.datasets == ["coco"]
    assert {"agsm", "sd15", "soft-tokens"} <= set(card.data.tags)
    assert 'from_pretrained("stable-diffusion-v1-5/stable-diffusion-v1-5"' in card.text
    assert "| steps | 10 |" in card.text


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    card = ModelCard(bundle(photo_tokens(tmp_path, "my-folder"), "me/tokens", None, [])["README.md"].decode())
    assert "base_model" not in card.data.to_dict()
    assert "license" not in card.data.to_dict()


def test_the_card_says_what_its_code_does_not_load(tmp_path: Path) -> None:
    model = {"model": f"a/b@{COMMIT}", "t5": "off", "unet": f"tuned/unet@{COMMIT}"}
    training = {"trainer": "agsm", "model": model, "variant": {"trainer": "dspo", "hash": "0123456789abcdef"}}
    config = TokensConfig(backbone="sd3", placement="mmdit", dim=1536, layers=5)
    save_tokens(SoftTokens(config), tmp_path, training)
    text = bundle(tmp_path, "me/tokens", None, [])["README.md"].decode()
    assert 'from_pretrained("a/b", text_encoder_3=None, tokenizer_3=None, dtype=torch.float16)' in text
    assert f"trained with the UNET `tuned/unet@{COMMIT}` in the model" in text
    assert "fine-tuned by `dspo` (hash `0123456789ab`)" in text


def test_results_are_those_of_the_summary(tokens: Path) -> None:
    run = results_dir() / "runs" / RUN
    text = bundle(tokens, "me/mini", None, [run])["README.md"].decode()
    mean = json.loads((run / "summary.json").read_text())["metrics"]["geneval/mean"]
    assert f"| geneval/mean | {100 * mean['value']:.1f}% | {100 * mean['low']:.1f}% to" in text
    assert "2212 of 2212 images" in text


def test_the_cards_python_makes_a_picture(tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = bundle(tokens, "me/mini", None, [])["README.md"].decode()
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, name: str(tokens / name))
    names: dict[str, object] = {}
    exec(found[1], names)
    assert names["image"].size == (24, 24)  # type: ignore[attr-defined]


def test_a_dry_run_says_what_would_go_where(cli: Cli, tokens: Path) -> None:
    code, out, _ = cli("push", tokens, "me/mini", "--dry-run", "--private", "--license", "mit")
    assert code == 0
    size = (tokens / "soft_tokens.safetensors").stat().st_size
    for words in ("https://huggingface.co/me/mini (private)", f"{size:,} bytes", "license: mit", "## How to use"):
        assert words in out


@pytest.mark.parametrize("repo", ["me", "me/a b", "a/b/c", "", "me/-x"])
def test_no_repository(cli: Cli, tokens: Path, repo: str) -> None:
    code, _, err = cli("push", tokens, repo, "--dry-run")
    assert code == 2
    assert "USER/NAME" in err


def test_a_run_of_other_tokens(cli: Cli, tokens: Path) -> None:
    other = results_dir() / "runs" / "geneval-agsm-shapes-mmdit-1"
    code, _, err = cli("push", tokens, "me/mini", "--results", other, "--dry-run")
    assert code == 2
    assert "not a run of these tokens" in err


def test_absent_tokens(cli: Cli, tmp_path: Path) -> None:
    assert cli("push", tmp_path, "me/mini", "--dry-run")[0] == 3


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "hf auth login"),
        ({"HF_HUB_OFFLINE": "1", "HF_TOKEN": "hf_none"}, "unset HF_HUB_OFFLINE"),
        # nobody listens there
        ({"HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_none", "HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_without_a_login_or_a_network(tokens: Path, tmp_path: Path, environment: dict[str, str], words: str) -> None:
    """In a process of its own: the hub's client reads its environment when it is imported."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [sys.executable, "-m", "agsm_bench", "push", str(tokens), "me/mini"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=clean | {"HF_HOME": str(tmp_path)} | environment, check=False
    )
    assert done.returncode == 3, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
