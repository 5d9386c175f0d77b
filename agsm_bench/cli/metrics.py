"""`agsm-bench metrics`: weights of metrics, and whether they give what they should."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from agsm_bench.errors import ExitCode, UserError

Names = Annotated[list[str] | None, typer.Argument(help="Full names, see `agsm-bench list metrics`. (default: all)")]

metrics = typer.Typer(help="Get the weights of metrics, and check them.", no_args_is_help=True, add_completion=False)


@metrics.callback()
def _group() -> None:
    """Get the weights of metrics, and check them.

    \b
    agsm-bench list metrics
    agsm-bench metrics get image_reward/v1.0 pickscore/v1
    agsm-bench metrics get mask2former clip/openai-l14
    agsm-bench metrics verify
    """


@metrics.command()
def get(
    names: Annotated[list[str], typer.Argument(help="Full names of metrics, or detectors; see `agsm-bench list`.")],
) -> None:
    """Download the weights of metrics and detectors into the hub's cache, or torch's."""
    from agsm_bench.cli.progress import phases
    from agsm_bench.scoring.download import get as get_file
    from agsm_bench.scoring.download import weights_of

    for name, weights in weights_of(names).items():
        for weight in weights:
            with phases(weight.file, in_bytes=("download",)) as show:
                path = get_file(weight, show)
            typer.echo(f"{name}: {path}")
        if not weights:
            typer.echo(f"{name} needs no weights.")


@metrics.command()
def verify(
    names: Names = None,
    record: Annotated[bool, typer.Option("--record", help="Store what they give here as expected.")] = False,
    weights: Annotated[list[str] | None, typer.Option(help="METRIC=PATH, as for `score`.")] = None,
    device: Annotated[str | None, typer.Option(help="e.g. cuda:1 or cpu. (default: CUDA where there is any)")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Run each metric on shipped images and compare with recorded values; one whose weights are absent is skipped.

    Exit code 1 where a metric differs, 3 where one that is named cannot run.
    """
    from agsm_bench.cli.score import given_weight
    from agsm_bench.scoring.settings import PassSettings, default_device
    from agsm_bench.scoring.verify import Check
    from agsm_bench.scoring.verify import verify as checks_of

    settings, given = PassSettings(device or default_device()), dict(map(given_weight, weights or []))
    checks: list[Check] = []
    for check in checks_of(names or [], given, settings, record=record):
        checks.append(check)
        if not json_:
            typer.echo(f"{check.name:<28} {check.state:<13} {check.says}")
    if json_:
        typer.echo(json.dumps([asdict(check) for check in checks]))
    if different := [check.name for check in checks if check.state == "differs"]:
        fix = "Look at the versions of torch and of the weights; agsm-bench doctor"
        raise UserError(f"Other values than recorded: {', '.join(different)}.", fix, ExitCode.REGRESSION)
    if names and (skipped := [check for check in checks if check.state == "skipped"]):
        raise UserError(f"Not checked: {skipped[0].name}.", skipped[0].says, ExitCode.MISSING)
