"""`agsm-bench eval BENCHMARK`: generate, then score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agsm_bench.cli.options import pick, with_flags
from agsm_bench.errors import ExitCode, UserError
from agsm_bench.evaluate import EvaluationOptions
from agsm_bench.model_options import ModelOptions


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
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    **flags: Any,
) -> None:
    """Generate a benchmark's images and score them; resumes.

    \b
    agsm-bench eval geneval --backbone shapes-mmdit
    agsm-bench eval geneval --backbone shapes-mmdit --tokens runs/agsm
    accelerate launch --multi_gpu -m agsm_bench eval geneval --backbone sd15
    agsm-bench eval geneval --backbone shapes-mmdit --backbone-weights runs/dpo --tokens runs/agsm
    """
    from agsm_bench import evaluate as evaluation
    from agsm_bench.cli.progress import phases
    from agsm_bench.parallel import join, launched

    folder = out or Path("runs") / default_name(benchmark, backbone, backbone_weights, tokens)
    options = pick(EvaluationOptions, flags)
    model = pick(ModelOptions, flags)
    part = parse_shard(shard)
    request = evaluation.Request(benchmark, backbone, folder, tokens, options, part, backbone_weights, model)
    try:
        with phases(f"{benchmark} on {backbone}") as progress:
            summary = evaluation.evaluate(request, progress, join())
    except KeyboardInterrupt as error:
        fix = "Run the same command to go on."
        raise UserError(f"Interrupted; {folder} keeps what is done.", fix, ExitCode.INTERRUPTED) from error
    if launched().first:
        show(summary, folder, json_)


evaluate = with_flags(_evaluate, EvaluationOptions, ModelOptions)


def default_name(benchmark: str, backbone: str, *paths: Path | None) -> str:
    """Name of the run folder where none is given: `paths` are the variant and the tokens."""
    names = [path.parent.name if path.is_file() else path.name for path in paths if path is not None]
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
    from rich.console import Console

    from agsm_bench.report.summary import summary_table

    Console().print(summary_table(summary))
    typer.echo(f"Run folder: {folder}")
