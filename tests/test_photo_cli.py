"""`train` and `eval` on photographs' backbones, over tiny pipelines of random weights, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from coco_tiny import write_coco
from conftest import Cli
from photo_tiny import MAKERS, SIZE, save_tiny
from PIL import Image
from test_training import log_of

from agsm_bench.data import coco
from agsm_bench.store import Run
from agsm_bench.tokens import TOKENS_FILE, SoftTokens, load_tokens, read_header, save_tokens
from agsm_bench.training import log

NAMES = tuple(MAKERS)
TRAINING = ("--steps", 2, "--batch", 2, "--size", SIZE, "--save-every", 1, "--device", "cpu")
SMALL = ("--limit", 3, "--images-per-prompt", 1, "--steps", 2, "--size", SIZE, "--device", "cpu")
SAMPLING = (*SMALL, "--metrics", "none")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save_tiny(name, tmp_path_factory.mktemp(name)) for name in NAMES}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True)
def _coco(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGSM_BENCH_DATA", str(data))
    monkeypatch.setattr("agsm_bench.training.validation.TIMESTEPS", (500,))  # a quarter of the time
    coco._read.cache_clear()
    if not any(data.iterdir()):
        write_coco(data)


def interrupt(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str, calls: int) -> None:
    """Ctrl-C just after the so-manieth call of a function."""
    original, seen = getattr(owner, method), []

    def wrapper(*arguments: Any) -> None:
        original(*arguments)
        seen.append(1)
        if len(seen) == calls:
            raise KeyboardInterrupt

    monkeypatch.setattr(owner, method, wrapper)


def pictures(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*.png"))}


@pytest.mark.parametrize("name", NAMES)
def test_tokens_from_an_interrupted_training_to_images(
    cli: Cli, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model = ["--backbone", name, "--model", folders[name]]
    # a rate that 8 bits show
    command = ["train", "agsm", *model, *TRAINING, "--learning-rate", 1.0, "--min-learning-rate", 1.0]
    code, said, error = cli(*command, "--out", tmp_path / "whole")
    assert code == 0, error
    assert f"Saved: {tmp_path / 'whole' / TOKENS_FILE}" in said
    with monkeypatch.context() as patch:
        interrupt(patch, log, "append", 2)
        code, _, error = cli(*command, "--out", tmp_path / "broken")
    assert code == 130
    assert "Run the same command to go on." in error
    assert not (tmp_path / "broken" / TOKENS_FILE).exists()
    assert cli(*command, "--out", tmp_path / "broken")[0] == 0
    tokens = [(tmp_path / run / TOKENS_FILE).read_bytes() for run in ("whole", "broken")]
    assert tokens[0] == tokens[1]
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "broken")

    for out, tokens_of in (("base", []), ("tokens", ["--tokens", tmp_path / "broken"])):
        assert cli("eval", "geneval", *model, *SAMPLING, *tokens_of, "--out", tmp_path / out)[0] == 0
    base, changed = pictures(tmp_path / "base"), pictures(tmp_path / "tokens")
    assert base.keys() == changed.keys()
    assert all(base[key] != changed[key] for key in base)
    manifest = json.loads((tmp_path / "tokens" / "manifest.json").read_text())
    assert manifest["tokens"]["trainer"] == "agsm"
    assert manifest["spec"]["tokens"] == read_header(tmp_path / "whole").tokens_hash


@pytest.mark.parametrize(
    ("trainer", "name"), [("softrepa", "sd15"), ("bt", "sd3"), ("positive", "sdxl"), ("shared", "sd15")]
)
def test_the_other_trainers_of_tokens(
    cli: Cli, folders: dict[str, Path], tmp_path: Path, trainer: str, name: str
) -> None:
    model = ["--backbone", name, "--model", folders[name]]
    code, _, error = cli("train", trainer, *model, *TRAINING, "--out", tmp_path)
    assert code == 0, error
    header = read_header(tmp_path)
    assert (header.config.backbone, header.training["trainer"], header.training["size"]) == (name, trainer, SIZE)
    assert [record["step"] for record in log_of(tmp_path)] == [1, 2]


@pytest.mark.parametrize(("trainer", "name"), [("softrepa", "sd15"), ("agsm", "sd3")])
def test_tokens_in_the_authors_files_are_evaluated(
    cli: Cli, folders: dict[str, Path], tmp_path: Path, trainer: str, name: str
) -> None:
    model = ["--backbone", name, "--model", folders[name]]
    assert cli("train", trainer, *model, *TRAINING, "--learning-rate", 1.0, "--out", tmp_path / "own")[0] == 0
    load_tokens(tmp_path / "own").to_released(tmp_path / "files")
    tokens = SoftTokens.from_released(tmp_path / "files", backbone=name)
    save_tokens(tokens, tmp_path / "released", {"trainer": trainer})
    for each in ("own", "released"):
        code, _, error = cli(
            "eval", "geneval", *model, *SAMPLING, "--tokens", tmp_path / each, "--out", tmp_path / f"{each}-run"
        )
        assert code == 0, error
    assert pictures(tmp_path / "own-run") == pictures(tmp_path / "released-run")


@pytest.mark.parametrize("name", NAMES)
def test_eval_goes_on_after_an_interruption_and_keeps_its_images(
    cli: Cli, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    command = ["eval", "geneval", "--backbone", name, "--model", folders[name], *SAMPLING]
    code, said, error = cli(*command, "--out", tmp_path / "whole")
    assert code == 0, error
    assert f"Run folder: {tmp_path / 'whole'}" in said
    with monkeypatch.context() as patch:
        interrupt(patch, Run, "add_image", 2)
        assert cli(*command, "--out", tmp_path / "broken")[0] == 130
    assert len(pictures(tmp_path / "broken")) == 2
    assert cli(*command, "--out", tmp_path / "broken")[0] == 0
    assert pictures(tmp_path / "broken") == pictures(tmp_path / "whole")
    assert len(pictures(tmp_path / "whole")) == 3
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert (summary["expected"], summary["scored"], summary["complete"], summary["metrics"]) == (3, 0, False, {})


@pytest.mark.parametrize("name", NAMES)
def test_without_what_judges_the_images_none_is_made(
    cli: Cli, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """All that is missing is said at once; images alone are made without it, and scored later."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    command = ["eval", "geneval", "--backbone", name, "--model", folders[name], *SMALL, "--out", tmp_path / "run"]
    code, said, error = cli(*command)
    assert (code, said) == (3, "")
    assert not (tmp_path / "run").exists()
    for lacking in ("mask2former", "clip/openai-l14"):
        assert f"agsm-bench metrics get {lacking}" in error
    assert cli(*command, "--metrics", "none")[0] == 0
    assert len(pictures(tmp_path / "run")) == 3
    code, _, again = cli("score", tmp_path / "run")
    assert (code, again) == (3, error)


@pytest.mark.parametrize(("trainer", "name"), [("diffusion_dpo", "sd15"), ("dspo", "sdxl"), ("diffusion_dpo", "sd3")])
def test_fine_tuning_on_preferences(
    cli: Cli, folders: dict[str, Path], tmp_path: Path, trainer: str, name: str
) -> None:
    """As LoRA, then tokens and images on top of it."""
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    lines = []
    for i in range(2):
        for kind, colour in (("good", (255, 0, 0)), ("bad", (0, 0, 80 * i))):
            Image.new("RGB", (20, 30), colour).save(pairs / f"{i}-{kind}.png")
        lines.append({"prompt": f"red {i}", "preferred": f"{i}-good.png", "rejected": f"{i}-bad.png"})
    (pairs / "preferences.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    model = ["--backbone", name, "--model", folders[name]]
    command = ["train", trainer, *model, *TRAINING, "--rank", 2, "--preferences", pairs]
    code, _, error = cli(*command, "--learning-rate", 0.1, "--out", tmp_path / "dpo")
    assert code == 0, error
    tuned = ["--backbone-weights", tmp_path / "dpo"]
    for weights, out in (([], "plain"), (tuned, "agsm")):
        rate = ["--learning-rate", 1.0, "--min-learning-rate", 1.0]
        code, said, _ = cli("train", "agsm", *model, *TRAINING, *rate, *weights, "--out", tmp_path / out)
        assert code == 0
        assert f"Next: agsm-bench eval geneval --backbone {name} --model {folders[name]}" in said
    tokens = ["--tokens", tmp_path / "plain"]  # those of the plain backbone fit its variants
    settings = {"base": [], "weights": tuned, "tokens": tokens, "both": [*tuned, *tokens]}
    for out, more in settings.items():
        assert cli("eval", "geneval", *model, *SAMPLING, *more, "--out", tmp_path / out)[0] == 0
    made = [pictures(tmp_path / out) for out in settings]
    assert all(one != other for i, one in enumerate(made) for other in made[:i])


def test_what_is_wrong_is_said_before_the_weights_load(
    cli: Cli, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ["--backbone", "sd3", "--model", folders["sd3"], "--out", tmp_path / "run"]
    for command, words, expected in (
        (["train", "agsm", "--size", 24], "Use a multiple of 16", 2),
        (["eval", "geneval", "--size", 24], "Use a multiple of 16", 2),
        (["train", "agsm", "--init", "empty"], "--init empty is for UNets", 2),
    ):
        code, _, error = cli(*command, *model)
        assert (code, words in error) == (expected, True), error
    code, _, error = cli("train", "agsm", "--size", 16, "--out", tmp_path / "shapes")
    assert (code, "has pictures of one size" in error) == (2, True)
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "nothing"))
    code, _, error = cli("train", "agsm", *model)
    assert (code, "agsm-bench data get coco-train2017" in error) == (3, True)
