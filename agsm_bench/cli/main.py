"""The `agsm-bench` command."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer

import agsm_bench
from agsm_bench.errors import ExitCode, UserError
from agsm_bench.faults import told
from agsm_bench.parallel import launched, leave
from agsm_bench.redaction import redacted
from agsm_bench.stopping import exit_code, stopped
from agsm_bench.terminal import plain

HELP = """Train soft tokens, evaluate text-to-image models, rebuild the paper's tables.

\b
agsm-bench demo
agsm-bench train agsm --backbone shapes-mmdit --out runs/agsm
agsm-bench eval geneval --backbone shapes-mmdit --tokens runs/agsm --out runs/agsm-geneval
agsm-bench report --table 1
agsm-bench reproduce --table 6 --quick
agsm-bench claims
"""

COMMANDS = {
    "demo": ("demo:demo", "Train AGSM on shapes-mmdit, evaluate base and tokens on GenEval, write demo/report.html."),
    "train": ("train:train", "Train soft tokens, or fine-tune a backbone."),
    "eval": ("eval:evaluate", "Generate a benchmark's images and score them; resumes."),
    "score": (
        "score:score",
        "Score a run again or by more metrics, merge shards, or score anybody's images; resumes.",
    ),
    "report": ("report:report", "Print tables or a figure of the paper with what our runs measured."),
    "view": (
        "view:view",
        "Write a page of runs side by side: numbers, pictures, training; opens from disk.",
    ),
    "reproduce": (
        "reproduce:reproduce",
        "Do every run that tables, figures or claims of the paper need, then print them; resumes.",
    ),
    "claims": ("claims:claims", "Test the paper's claims on the runs that are there."),
    "compare": ("compare:compare", "Compare a run with a baseline; exit code 1 where it is worse beyond noise."),
    "baseline": ("baseline:baseline", "Keep what runs measured in one small file, to compare later runs with."),
    "smoke": ("smoke:smoke", "Train and evaluate for a minute, and compare: the regression gate on this package."),
    "leaderboard": ("leaderboard:leaderboard", "One sorted table of many runs, also as a model card's metadata."),
    "prompts": (
        "prompts:prompts",
        "Print a benchmark's prompts, one JSON object a line (GenEval photo: upstream's file, byte for byte).",
    ),
    "list": (
        "list:list_plugins",
        "List trainers, benchmarks, backbones, metrics, editors, detectors and figures, a line each.",
    ),
    "metrics": ("metrics:metrics", "Get the weights of metrics, and check them."),
    "data": ("data:data", "Get, check and find the photo domain's data."),
    "doctor": ("doctor:doctor", "Check that packages, weights, data, GPU, memory and disk are there for a run."),
    "push": ("push:push", "Upload soft tokens with a model card to the Hugging Face hub."),
    "shapes": ("shapes:shapes", "Build and look at the embedded miniature world."),
}
"""Name -> where it is below agsm_bench.cli, and its line in --help: importing all of them would take longest."""


class LazyGroup(typer.core.TyperGroup):
    """Imports a command when it is called; `--help` lists them by their lines alone."""

    listing = False

    def __init__(self, **settings: Any) -> None:
        lines = {name: typer.core.TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()}
        super().__init__(**settings | {"commands": lines})

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.listing = True
        super().format_help(ctx, formatter)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if self.listing or cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        found = getattr(import_module(f"agsm_bench.cli.{module}"), attribute)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False)
            single.command(cmd_name)(found)
            found = single
        return typer.main.get_command(found)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # of a command that has nothing better to say
            raise interrupted() from error


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"agsm-bench {agsm_bench.__version__}")
        raise typer.Exit


@app.callback(help=HELP)
def _top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if launched().count > 1 and context.invoked_subcommand not in ("train", "eval"):
        raise UserError(
            f"{context.invoked_subcommand} is for one process.", "`accelerate launch` and torchrun do train and eval."
        )


def main() -> None:
    """Runs the command line; a user's mistake is one line on stderr and an exit code (see ExitCode).

    Several things that are missing have a line each.
    """
    try:
        _run()
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 0)
        raise


def _run() -> None:
    try:
        _open_streams()
        if isinstance(sys.stdout, TextIOWrapper):  # an arrow that the terminal's encoding has not is no reason to end
            sys.stdout.reconfigure(errors="replace")
        try:
            app()
        finally:
            sys.stdout.flush()  # what fails at the interpreter's end has no words and no code of ours
    except BrokenPipeError:
        _end_unheard()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer's own end, with the code of a regression
            _end_unheard()
        raise
    except Exception as error:
        # an import may turn KeyboardInterrupt into an error of its own
        known = told(error) or (interrupted() if stopped() else None)
        if known is None:
            raise
        _end(known)


def _end(error: UserError) -> NoReturn:
    processes = launched()
    who = f" (process {processes.rank} of {processes.count})" if processes.count > 1 else ""
    try:
        print(plain(redacted(f"agsm-bench{who}: {error}")), file=sys.stderr, flush=True)
        sys.stdout.flush()
    except OSError:
        _let_go()
    sys.exit(exit_code() if error.code is ExitCode.INTERRUPTED else int(error.code))


def interrupted() -> UserError:
    """Of a command that keeps nothing, or before it has begun."""
    return UserError("Interrupted.", "Run the same command to go on.", ExitCode.INTERRUPTED)


def _end_unheard() -> NoReturn:
    """Whoever read the output has gone, as `head` does: that needs no words."""
    _let_go()
    sys.exit(int(ExitCode.INTERRUPTED))


def _let_go() -> None:
    """What the streams still hold goes nowhere: the interpreter would try again at its end, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)


def _open_streams() -> None:
    """Closed standard streams become /dev/null: the next file opened would be number 2, and warnings go into it."""
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(spare)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115


if __name__ == "__main__":
    main()
