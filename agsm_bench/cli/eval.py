"""`agsm-bench eval BENCHMARK`: generate, then score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from agsm_bench.cli.options import pick, with_flags
from agsm_bench.errors import ExitCode, UserError
from agsm_bench.model_options import ModelOptions
from agsm_bench.plugins import full_name
from agsm_bench.request import Editing, EvaluationOptions, Request, Scoring
from agsm_bench.terminal import plain_console
from agsm_bench.unigenbench.options import JudgeOptions


def _evaluate(
    benchmark: Annotated[str, typer.Argument(help="Name of the benchmark, e.g. geneval.")],
    backbone: Annotated[str, typer.Option(help="Backbone, see `agsm-bench list backbones`.")] = "shapes-mmdit",
    tokens: Annotated[Path | None, typer.Option(help="Folder or file of trained soft tokens.")] = None,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Folder of a variant of the backbone, e.g. of `train diffusion_dpo`.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder; resumes. (default: runs/BENCHMARK-BACKBONE, with -VARIANT and -TOKENS)"),
    ] = None,
    shard: Annotated[str | None, typer.Option(help="i/n: only part i (from 0) of n; merge with `score`.")] = None,
    editor: Annotated[
        str | None,
        typer.Option(help="Of pie: see `agsm-bench list editors`. (default: masactrl of a UNet, flowedit of an MMDiT)"),
    ] = None,
    inversion: Annotated[
        Literal["ddim", "direct"] | None, typer.Option(help="Of masactrl and pnp. (default: ddim)")
    ] = None,
    preset: Annotated[
        Literal["paper", "upstream", "shapes"] | None,
        typer.Option(help="Settings of the editor. (default: paper; shapes on the shapes domain)"),
    ] = None,
    tokens_on: Annotated[
        Literal["both", "target", "source"], typer.Option(help="Branches of an edit that have the soft tokens.")
    ] = "both",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE: another option of the editor; again for more.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Names with commas in place of the benchmark's; none: images alone, to be scored later."),
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="See `agsm-bench list detectors`. (default: the domain's)")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="NAME=PATH: of a metric or detector, in place of the caches.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    **flags: Any,
) -> None:
    """Generate a benchmark's images and score them; resumes.

    \b
    agsm-bench eval geneval --backbone shapes-mmdit
    agsm-bench eval geneval --backbone shapes-mmdit --tokens runs/agsm
    agsm-bench eval pie --backbone shapes-unet --editor pnp --inversion direct --tokens runs/agsm
    accelerate launch --multi_gpu -m agsm_bench eval geneval --backbone sd15
    agsm-bench eval geneval --backbone shapes-mmdit --backbone-weights runs/dpo --tokens runs/agsm
    """
    from agsm_bench import evaluate as evaluation
    from agsm_bench.cli.progress import phases
    from agsm_bench.parallel import join, launched

    name = full_name("benchmarks", benchmark)
    editing = Editing(editor, inversion, preset, tokens_on, dict(map(_setting, set_ or [])))
    folder = out or Path("runs") / default_name(
        name, backbone, backbone_weights, tokens, *filter(None, (editor, inversion))
    )
    request = Request(
        name,
        backbone,
        folder,
        tokens,
        pick(EvaluationOptions, flags),
        parse_shard(shard),
        backbone_weights,
        pick(ModelOptions, flags),
        editing,
        _scoring(metrics, detector, weights),
        pick(JudgeOptions, flags),
    )
    try:
        with phases(f"{name} on {backbone}") as progress:
            summary = evaluation.evaluate(request, progress, join())
    except KeyboardInterrupt as error:
        fix = "Run the same command to go on."
        raise UserError(f"Interrupted; {folder} keeps what is done.", fix, ExitCode.INTERRUPTED) from error
    if launched().first:
        show(summary, folder, json_)


evaluate = with_flags(_evaluate, EvaluationOptions, ModelOptions, JudgeOptions)


def _scoring(metrics: str | None, detector: str | None, weights: list[str] | None) -> Scoring:
    from agsm_bench.cli.score import given_weight

    names = None if metrics is None else tuple(each.strip() for each in metrics.split(",") if each.strip())
    nothing = names == ("none",)
    return Scoring(None if nothing else names, nothing, dict(map(given_weight, weights or [])), detector)


def _setting(text: str) -> tuple[str, str]:
    """NAME=VALUE as two; raises UserError."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set is '{text}'.", "Use NAME=VALUE, e.g. --set start_step=4.")
    return name.strip().replace("-", "_"), value


def default_name(benchmark: str, backbone: str, *parts: Path | str | None) -> str:
    """Name of the run folder where none is given: `parts` are the variant, the tokens, and an editor's words."""
    paths = [Path(part) for part in parts if part is not None]
    names = [path.parent.name if path.is_file() else path.name for path in paths]
    return "-".join([benchmark, backbone, *names])


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """`i/n` as two numbers, 0 <= i < n."""
    if text is None:
        return None
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UserError(f"--shard is '{text}'.", "Use i/n with 0 <= i < n, e.g. --shard 0/2.")
    return int(index), int(count)


def show(summary: dict[str, Any], folder: Path, as_json: bool) -> None:
    """Prints a summary: the tasks' accuracies with their intervals, or JSON."""
    if as_json:
        typer.echo(json.dumps(summary))
        return
    from agsm_bench.report.summary import summary_table

    plain_console().print(summary_table(summary))
    typer.echo(f"Run folder: {folder}")
