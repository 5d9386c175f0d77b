"""The command line: what it prints, and how it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import Cli

from agsm_bench.cli.main import COMMANDS
from agsm_bench.tokens.checkpoint import save_tokens
from agsm_bench.tokens.header import TokensConfig
from agsm_bench.tokens.soft_tokens import SoftTokens

GENEVAL_SHA256 = "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["data", "list"],
        ["train", "--help"],
        ["prompts", "geneval"],
        ["report", "--table", "6"],
        ["reproduce", "--table", "6", "--dry-run"],
    ],
)
def test_text_commands_import_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from agsm_bench.cli.main import main; sys.argv = ['agsm-bench', *sys.argv[1:]]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    ("arguments", "needless"),
    [
        (["--help"], {"numpy", "pydantic", "agsm_bench.report", "agsm_bench.plugins"}),
        (["list"], {"httpx2", "requests", "rich", "agsm_bench.report.tables", "agsm_bench.report.figures"}),
        (["report", "--table", "6"], {"numpy", "PIL", "huggingface_hub", "agsm_bench.store"}),
    ],
    ids=lambda value: "",
)
def test_what_starts_often_starts_lean(arguments: list[str], needless: set[str]) -> None:
    code = (
        "import sys; from agsm_bench.cli.main import main; sys.argv = ['agsm-bench', *sys.argv[1:]]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout
    assert not needless & set(done.stderr.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_of_a_command_what_the_command_says(cli: Cli, name: str) -> None:
    line = COMMANDS[name][1]
    for arguments in (["--help"], [name, "--help"]):
        code, out, _ = cli(*arguments)
        assert code == 0
        assert "".join(line.split()) in "".join(out.replace("│", "").split())


def test_an_unknown_command_is_refused(cli: Cli) -> None:
    code, _, err = cli("trian")
    assert code == 2
    assert "'train'" in err


def test_list_names_every_plugin(cli: Cli) -> None:
    code, out, _ = cli("list")
    assert code == 0
    for name in (
        "agsm",
        "softrepa",
        "bt",
        "positive",
        "shared",
        "diffusion_dpo",
        "dspo",
        "geneval",
        "shapes-unet",
        "shapes-mmdit",
    ):
        assert f"  {name} " in out


def test_photo_prompts_are_upstreams_file(cli: Cli) -> None:
    code, out, _ = cli("prompts", "geneval", "--domain", "photo")
    assert code == 0
    assert hashlib.sha256(out.encode()).hexdigest() == GENEVAL_SHA256


def test_shapes_prompts_have_the_same_tags(cli: Cli) -> None:
    _, photo, _ = cli("prompts", "geneval", "--domain", "photo")
    _, shapes, _ = cli("prompts", "geneval")
    tags = [[json.loads(line)["tag"] for line in text.splitlines()] for text in (photo, shapes)]
    assert tags[0] == tags[1]


def refused(result: tuple[int, str, str], code: int, *words: str) -> None:
    """One line on stderr that says what to type next, and the exit code."""
    assert result[0] == code, result
    assert result[2].startswith("agsm-bench: ")
    assert len(result[2].strip().splitlines()) == 1
    assert "Traceback" not in result[2]
    for word in words:
        assert word in result[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "agms"], ["Did you mean 'agsm'"]),
        (["train", "agsm", "--backbone", "shapes-unit"], ["Did you mean 'shapes-unet'"]),
        (["train", "agsm", "--steps", "-1"], ["--steps", "at least 1"]),
        (["train", "agsm", "--batch", "0"], ["--batch"]),
        (["train", "agsm", "--batch", "100000000"], ["--batch", "256"]),
        (["train", "agsm", "--learning-rate", "nan"], ["--learning-rate"]),
        (["train", "agsm", "--gamma-negative", "-0.1"], ["--gamma-negative"]),
        (["train", "agsm", "--apply", "down,middle"], ["middle", "down,mid"]),
        (["train", "agsm", "--backbone", "shapes-mmdit", "--init", "empty"], ["--init normal"]),
        (["eval", "genevel"], ["Did you mean 'geneval'"]),
        (["eval", "geneval", "--backbone", "sd99"], ["Known: sd15, sd3, sdxl, shapes-mmdit, shapes-unet"]),
        (["eval", "geneval", "--limit", "0"], ["--limit", "at least 1"]),
        (["eval", "geneval", "--shard", "2/2"], ["--shard", "0/2"]),
        (["eval", "geneval", "--shard", "²/3"], ["--shard", "0/2"]),
        (["eval", "geneval", "--unconditional", "negative"], ["--tokens"]),
        (["report", "--table", "14"], ["1", "13"]),
        (["shapes", "build", "shapes-vea"], ["Known: shapes-vae"]),
        (["list", "metrcis"], ["Known: trainers"]),
        (
            ["prompts", "cocoa"],
            ["Did you mean 'coco_val5k'?", "Known: coco_val5k, counting, geneval, pie_bench, unigenbench"],
        ),
    ],
)
def test_usage_errors(cli: Cli, arguments: list[str], words: list[str]) -> None:
    refused(cli(*arguments), 2, *words)


def test_unknown_flag_is_a_usage_error(cli: Cli) -> None:
    code, _, err = cli("train", "agsm", "--gama", "1")
    assert code == 2
    assert "--gama" in err


def test_gamma_that_is_no_number_is_a_usage_error(cli: Cli) -> None:
    code, _, err = cli("train", "agsm", "--gamma-negative", "much")
    assert code == 2
    # the message is framed and wrapped to the terminal's width
    assert "--gamma-negative" in err


def test_absent_tokens(cli: Cli, tmp_path: Path) -> None:
    refused(cli("eval", "geneval", "--tokens", tmp_path / "none", "--out", tmp_path / "run"), 3, "train")
    assert not (tmp_path / "run").exists()


def test_damaged_tokens(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "soft_tokens.safetensors").write_bytes(b"not a safetensors file")
    refused(cli("eval", "geneval", "--tokens", tmp_path, "--out", tmp_path / "run"), 3)


def test_tokens_of_another_backbone(cli: Cli, tmp_path: Path) -> None:
    tokens = SoftTokens(TokensConfig(backbone="shapes-unet", placement="unet", dim=128))
    save_tokens(tokens, tmp_path, {"trainer": "agsm"})
    refused(cli("eval", "geneval", "--tokens", tmp_path, "--out", tmp_path / "run"), 2, "--backbone shapes-unet")


def test_folder_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    refused(cli("train", "agsm", "--steps", 1, "--out", blocked / "run"), 2, "--out")
    refused(cli("eval", "geneval", "--limit", 1, "--out", blocked / "run"), 2, "--out")
    assert blocked.read_text() == ""


def test_absent_weights(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGSM_BENCH_SHAPES_WEIGHTS", str(tmp_path))
    refused(cli("eval", "geneval", "--out", tmp_path / "run"), 3, "agsm-bench shapes build shapes-mmdit")


def test_score_of_no_run(cli: Cli, tmp_path: Path) -> None:
    refused(cli("score", tmp_path), 3)
    refused(cli("score", tmp_path / "a", tmp_path / "b"), 2, "--out")


def test_out_of_memory_is_no_traceback(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("agsm_bench.evaluate._generated", full)
    code, _, error = cli("eval", "geneval", "--limit", 1, "--out", tmp_path)
    assert code == 2
    assert "Out of memory: CUDA out of memory. Use a smaller --batch-size" in error


def test_an_arrow_that_the_encoding_has_not_is_no_error() -> None:
    """As in a terminal of Latin-1, or of Windows."""
    command = [sys.executable, "-m", "agsm_bench", "report", "--table", "1"]
    found = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "latin-1"}, capture_output=True)
    assert (found.returncode, found.stderr) == (0, b"")
    assert b"Table 1" in found.stdout
