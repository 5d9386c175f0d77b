"""`agsm-bench eval BENCHMARK`: generate, then score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from agsm_bench.errors import ExitCode, UserError


def evaluate(
    benchmark: Annotated[str, typer.Argument(help="Name of the benchmark, e.g. geneval.")],
    backbone: Annotated[
        str, typer.Option(help="Backbone, see `agsm-bench list backbones`.")
    ] = "shapes-mmdit",
    tokens: Annotated[Path | None, typer.Option(help="Folder or file of trained soft tokens.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder; resumes what is in it. (default: runs/BENCHMARK-BACKBONE, or with -TOKENS)"
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Only so many prompts, spread over the benchmark; stamped as limited."),
    ] = None,
    images_per_prompt: Annotated[int | None, typer.Option(min=1, help="(default: the benchmark's)")] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(min=0, help="CFG. (default: the backbone's)")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Sampling steps. (default: the backbone's)")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all samples' noise.")] = 0,
    shard: Annotated[
        str | None, typer.Option(help="i/n: only the i-th (from 0) of n parts; merge with `score`.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images at once; changes the speed, not the images.")
    ] = 64,
    unconditional: Annotated[
        Literal["positive", "negative"],
        typer.Option(help="Tokens in the unconditional half of CFG (paper Table 5)."),
    ] = "positive",
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Generate a benchmark's images and score them; resumes.

    \b
    agsm-bench eval geneval --backbone shapes-mmdit
    agsm-bench eval geneval --backbone shapes-mmdit --tokens runs/agsm
    """
    from agsm_bench import evaluate as evaluation
    from agsm_bench.cli.progress import phases

    name = "-".join(
        [benchmark, backbone, *([tokens.stem if tokens.is_file() else tokens.name] if tokens else [])]
    )
    request = evaluation.Request(
        benchmark=benchmark, backbone=backbone, out=out or Path("runs") / name, tokens=tokens,
        unconditional=unconditional, limit=limit, images_per_prompt=images_per_prompt,
        guidance_scale=guidance_scale, steps=steps, seed=seed, shard=parse_shard(shard), batch_size=batch_size,
    )  # fmt: skip
    try:
        with phases(f"{benchmark} on {backbone}") as progress:
            summary = evaluation.evaluate(request, progress)
    except KeyboardInterrupt as error:
        raise UserError(
            f"Interrupted; {request.out} keeps what is done.",
            "Run the same command to go on.",
            ExitCode.INTERRUPTED,
        ) from error
    show(summary, request.out, json_)


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """`i/n` as two numbers, 0 <= i < n."""
    if text is None:
        return None
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
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
