"""`agsm-bench doctor`: what is there and what is missing, with what to type next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agsm_bench.cli.options import pick, with_flags
from agsm_bench.doctor.check import Check
from agsm_bench.errors import ExitCode
from agsm_bench.model_options import ModelOptions
from agsm_bench.redaction import redacted
from agsm_bench.terminal import plain_console
from agsm_bench.training.config import TrainingOptions

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDTH = 120
"""Columns where the standard output is no terminal."""
SIGNS = {"ok": ("✓", "green"), "warning": ("!", "bold yellow"), "missing": ("✗", "bold red")}
"""Sign and style; a sign each, so that colour alone never carries the meaning."""
NOT_NEEDED = ("·", "dim")


def _doctor(
    backbone: Annotated[
        str | None, typer.Option(help="Check a training on it. (default: the shapes ones, and a look at the others)")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the training would write.")] = Path("runs"),
    json_: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    **flags: Any,
) -> None:
    """Check that packages, weights, data, GPU, memory and disk are there for a run.

    Nothing is loaded or downloaded. The run is a training of soft tokens, whose flags it takes (not a preference
    training, nor `eval`); exit code 3 where something that it needs is missing, whatever else is.

    \b
    agsm-bench doctor
    agsm-bench doctor --backbone sd3 --batch 4 --gradient-checkpointing
    agsm-bench doctor --backbone sdxl --unet dpo --json
    """
    from agsm_bench.doctor.examine import examine

    found = examine(backbone, pick(ModelOptions, flags), pick(TrainingOptions, flags), out)
    checks = [replace(check, says=redacted(check.says), fix=redacted(check.fix)) for check in found]
    if json_:
        typer.echo(
            json.dumps({"ok": not any(c.fails for c in checks), "checks": [asdict(c) for c in checks]}, indent=1)
        )
    else:
        _show(checks, backbone)
    if any(check.fails for check in checks):
        raise typer.Exit(int(ExitCode.MISSING))


doctor = with_flags(_doctor, ModelOptions, TrainingOptions)


def _show(checks: Sequence[Check], backbone: str | None) -> None:
    from rich.text import Text

    console = plain_console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    width = max(len(check.name) for check in checks)
    for group, members in groupby(checks, lambda check: check.group):
        console.print(Text(group, "bold"))
        aside = []
        for check in members:
            if backbone is not None and check.state == "missing" and not check.needed:
                aside.append(check.name)
            else:
                _print(check, width, console)
        if aside:
            console.print(Text(f"  {NOT_NEEDED[0]} not needed here: {', '.join(aside)}", "dim"))
    console.print(_verdict(checks, backbone))


def _print(check: Check, width: int, console: Console) -> None:
    """What is said is wrapped behind the name; what to type is one line, to be copied whole."""
    from rich.text import Text

    quiet = check.state == "missing" and not check.needed
    sign, style = NOT_NEEDED if quiet else SIGNS[check.state]
    first, *more = wrap(check.says, max(console.width - width - 6, 30))
    console.print(Text.assemble("  ", (sign, style), f" {check.name:<{width}}  {first}", style="dim" if quiet else ""))
    for line in more:
        console.print(Text(" " * (width + 6) + line, "dim" if quiet else ""))
    if check.fix:
        console.print(Text(f"    → {check.fix}", "dim" if quiet else "cyan"), soft_wrap=True)


def _verdict(checks: Sequence[Check], backbone: str | None) -> Text:
    """The last line: whether the run can start."""
    from rich.text import Text

    run = f"A training on {backbone}" if backbone else "The shapes domain"
    failed = sum(check.fails for check in checks)
    if failed:
        things = "1 thing" if failed == 1 else f"{failed} things"
        return Text(f"\n{run} lacks {things}, marked ✗ above.", "bold red")
    warned = any(check.state == "warning" for check in checks)
    return Text(f"\n{run} has all that it needs{', with the warnings above' if warned else ''}.", "bold green")
