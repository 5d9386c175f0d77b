"""PIE-Bench on photographs: every editor on tiny pipelines, with soft tokens and without; options that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmark_data import entry, pictures, summary_of, write_pie
from conftest import Cli
from photo_tiny import SIZE
from PIL import Image

from agsm_bench import plugins
from agsm_bench.model_options import ModelOptions, configured
from agsm_bench.tokens import SoftTokens, save_tokens

MASK = [100 * 512, 100 * 512]
MAPPING = {"000000000000": entry("000000000000", 6, MASK), "000000000001": entry("000000000001", 1, MASK)}
SIZES = {"000000000000": (SIZE, SIZE), "000000000001": (40, 32)}
UNET = [("masactrl", "ddim"), ("masactrl", "direct"), ("pnp", "ddim"), ("pnp", "direct")]
MMDIT = [(name, None) for name in ("rf_inversion", "flowedit", "flowalign")]
Models = dict[str, Path]


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "data"))
    write_pie(tmp_path / "data", MAPPING, SIZES)


@pytest.fixture(scope="module")
def tokens(tiny_models: Models, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Soft tokens of each backbone, large enough to be seen in 8 bits."""
    folders = {}
    for name, model in tiny_models.items():
        config = configured(plugins.load("backbones", name), ModelOptions(model=str(model))).tokens
        made = SoftTokens.initialise(config, torch.Generator().manual_seed(1))
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.mul_(100)
        folders[name] = tmp_path_factory.mktemp(f"tokens-{name}")
        save_tokens(made, folders[name], {"trainer": "agsm"})
    return folders


def command(models: Models, name: str, out: Path, *more: object) -> list[object]:
    model = ["--backbone", name, "--model", models[name], "--size", SIZE, "--device", "cpu"]
    return ["eval", "pie", *model, "--steps", 2, *more, "--metrics", "psnr/unedited", "--out", out]


def edited(cli: Cli, asked: list[object], out: Path) -> bytes:
    """The picture that was square, the other being counted."""
    code, _, error = cli(*asked)
    assert code == 0, error
    found = summary_of(out)["metrics"]["psnr/unedited"]
    assert (found["n"], found["unscored"]) == (1, 1)
    with Image.open(next(out.rglob("*.png"))) as image:
        assert (image.size, image.mode) == ((SIZE, SIZE), "RGB")
    assert pictures(out).keys() == {"000000000000/0000"}
    return pictures(out)["000000000000/0000"]


def options_of(editor: str, inversion: str | None) -> list[object]:
    start = ["--set", "start_step=0"] if editor == "masactrl" else []
    return ["--editor", editor, *start, *(["--inversion", inversion] if inversion else [])]


@pytest.mark.parametrize(
    ("name", "editor", "inversion"), [*(("sd15", *edit) for edit in UNET), *(("sd3", *edit) for edit in MMDIT)]
)
def test_every_editor_with_and_without_soft_tokens(
    cli: Cli, tiny_models: Models, tokens: Models, tmp_path: Path, name: str, editor: str, inversion: str | None
) -> None:
    """On both branches, and by one editor of each family on one of them alone: each is another edit."""
    options, plain = options_of(editor, inversion), tmp_path / "plain"
    made = {edited(cli, command(tiny_models, name, plain, *options), plain)}
    without = summary_of(plain)["run"]["editing"]
    assert (without["editor"], without.get("inversion"), "tokens_on" in without) == (editor, inversion, False)
    branches = ["both", *(["source", "target"] if (editor, inversion) in (("pnp", "ddim"), ("flowedit", None)) else [])]
    for branch in branches:
        out, on = tmp_path / branch, [] if branch == "both" else ["--tokens-on", branch]
        made.add(edited(cli, command(tiny_models, name, out, *options, "--tokens", tokens[name], *on), out))
        assert summary_of(out)["run"]["editing"] == without | {"tokens_on": branch}
    assert len(made) == 1 + len(branches)


@pytest.mark.parametrize(("editor", "inversion"), UNET[1:3])
def test_editors_of_unets_on_sdxl(
    cli: Cli, tiny_models: Models, tokens: Models, tmp_path: Path, editor: str, inversion: str
) -> None:
    options = [*options_of(editor, inversion), "--tokens", tokens["sdxl"]]
    edited(cli, command(tiny_models, "sdxl", tmp_path / "run", *options), tmp_path / "run")


def test_settings_of_a_run_that_is_there_stay(cli: Cli, tiny_models: Models, tmp_path: Path) -> None:
    """An inversion can be set like every option; another one is another run."""
    out = tmp_path / "run"
    edited(cli, command(tiny_models, "sd15", out, "--set", "inversion=direct"), out)
    assert summary_of(out)["run"]["editing"]["inversion"] == "direct"
    code, _, error = cli(*command(tiny_models, "sd15", out, "--inversion", "ddim"))
    assert (code, "inversion" in error) == (2, True), error
    edited(cli, command(tiny_models, "sd15", out, "--inversion", "direct"), out)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("sd15", ("--editor", "masactlr"), "Did you mean 'masactrl'?"),
        ("sd15", ("--editor", "flowedit"), "flowedit does not edit with sd15. Use one of: masactrl, pnp."),
        ("sd3", ("--editor", "pnp"), "pnp does not edit with sd3. Use one of: flowalign, flowedit, rf_inversion."),
        ("sd15", ("--set", "start=4"), "The editor has no option 'start'. It has: inversion, steps"),
        ("sd15", ("--set", "start_step"), "Use NAME=VALUE"),
        ("sd15", ("--set", "start_step=soon"), "start_step is 'soon'. Use a whole number."),
        ("sd15", ("--set", "start_layer=17"), "start_layer is 17. Use at most 16."),
        ("sd3", ("--inversion", "direct"), "The editor has no option 'inversion'."),
        ("sd15", ("--compile",), "A compiled network has no attention to control. Leave out --compile."),
        ("sd15", ("--judge-url", "http://localhost:1/v1"), "Leave out --judge-url."),
    ],
)
def test_wrong_editors_and_options(
    cli: Cli, tiny_models: Models, tmp_path: Path, name: str, arguments: tuple[str, ...], words: str
) -> None:
    code, said, error = cli(*command(tiny_models, name, tmp_path / "run", *arguments))
    assert (code, said, words in " ".join(error.split())) == (2, "", True), error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [("--editor", "pnp"), ("--inversion", "direct"), ("--set", "steps=3")])
def test_a_benchmark_that_generates_has_no_editor(
    cli: Cli, tiny_models: Models, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    code, _, error = cli("eval", "geneval", *command(tiny_models, "sd15", tmp_path / "run", *arguments)[2:])
    assert (code, "geneval generates images, it edits none. Leave out --editor" in error) == (2, True), error
