"""`agsm-bench reproduce`: every run that a table needs, then the table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agsm_bench.cli.claims import terminal as claims_text
from agsm_bench.cli.report import DomainName
from agsm_bench.errors import ExitCode, UserError
from agsm_bench.report.fills import Size
from agsm_bench.report.render import to_terminal
from agsm_bench.report.runs import REPRODUCED
from agsm_bench.report.tables import join
from agsm_bench.terminal import plain_console
from agsm_bench.types import Domain

if TYPE_CHECKING:
    from agsm_bench.report.runs import Run
    from agsm_bench.reproduce.execute import Failure, Notice
    from agsm_bench.reproduce.plan import Job
    from agsm_bench.reproduce.wanted import Wanted

LOCK = ".reproduce.lock"


def reproduce(
    table: Annotated[list[int] | None, typer.Option(help="A table of the paper; may be repeated.")] = None,
    figure: Annotated[list[str] | None, typer.Option(help="One of `list figures`; may be repeated.")] = None,
    claims: Annotated[bool, typer.Option("--claims", help="What `agsm-bench claims` tests.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="Every table that runs fill, the figures, the claims.")] = False,
    domain: Annotated[DomainName, typer.Option(help="Where to measure.")] = DomainName.SHAPES,
    seeds: Annotated[
        int | None, typer.Option(help="Trainings of each row, seeds 0, 1, …  (default: 3; quick: 1)")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes at once, of one thread each.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder of the runs; resumes what is in it.")] = REPRODUCED,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs, with minutes and disk.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A quick look with small runs in a folder of their own; no result.")
    ] = False,
    quick_steps: Annotated[int, typer.Option(help="Training steps of quick runs.")] = 150,
    quick_prompts: Annotated[int, typer.Option(help="Prompts of quick runs; as many preference pairs.")] = 60,
    quick_images: Annotated[int, typer.Option(help="Images a prompt of quick runs.")] = 2,
) -> None:
    """Do every run that tables, figures or claims of the paper need, then print them; resumes.

    \b
    agsm-bench reproduce --table 6 --dry-run
    agsm-bench reproduce --table 6 --quick
    agsm-bench reproduce --figure 4 --seeds 1
    agsm-bench reproduce --all --jobs 2
    """
    from agsm_bench.reproduce.execute import execute
    from agsm_bench.reproduce.found import scan
    from agsm_bench.reproduce.plan import plan

    size = Size(quick_steps, quick_prompts, quick_images) if quick else None
    seeds = (1 if quick else 3) if seeds is None else seeds
    at_least_one = {"--seeds": seeds, "--jobs": jobs}
    _check(at_least_one | {f"--quick-{item.name}": getattr(size, item.name) for item in fields(Size) if size})
    asked = _asked(table or (), figure or (), claims, all_, "shapes" if domain is DomainName.SHAPES else "photo", size)
    folder = out / size.folder if size else out
    if dry_run:
        _show(plan(asked.rows, seeds, folder, scan(folder, quick)), jobs)
        return
    with _alone(folder), _progress() as notice:
        # looked at with the lock in hand, so that no other call is at work
        failures = execute(plan(asked.rows, seeds, folder, scan(folder, quick)), jobs, notice)
    _print(asked, scan(folder, quick).runs, size)
    _complain(failures)


@dataclass(frozen=True)
class Asked:
    """What is to be reproduced."""

    domain: Domain
    tables: tuple[int, ...]
    figures: tuple[str, ...]
    claims: bool
    rows: Wanted


def _asked(
    tables: Sequence[int], figures: Sequence[str], claims: bool, everything: bool, domain: Domain, size: Size | None
) -> Asked:
    from agsm_bench.report.figures import NUMBERS
    from agsm_bench.reproduce.wanted import by_claims, by_figures, by_tables, fillable

    if bool(tables or figures or claims) == everything:
        raise UserError("Which tables?", "Use --table N, which may be repeated, --figure N, --claims, or --all.")
    if size and (figures or claims):
        raise UserError("--quick is for tables.", "Use it with --table N, or --all.")
    if domain == "photo":
        raise UserError(
            "The runs of photo take GPUs, data and weights that are not planned for here.",
            "Type the commands that agsm-bench report --table N --domain photo prints, or use --domain shapes.",
        )
    if everything:
        claims = not size
        tables, figures = fillable(domain), NUMBERS if claims else ()
    numbers = sorted(set(tables))
    rows = by_tables(numbers, domain, size) + (by_claims() if claims else []) + by_figures(figures)
    return Asked(domain, tuple(numbers), tuple(sorted(set(figures))), claims, rows)


def _print(asked: Asked, runs: Sequence[Run], size: Size | None) -> None:
    from agsm_bench.report import figures
    from agsm_bench.report.claims import judge, load_claims

    for number in asked.tables:
        typer.echo(to_terminal(join(number, asked.domain, runs, size)), nl=False)
    for name in asked.figures:
        figure = figures.load(name)
        typer.echo(figures.as_text(name, figure, figures.points_of(name, figure, runs)), nl=False)
    if asked.claims:
        loaded = load_claims()
        typer.echo(claims_text(loaded, judge(loaded, runs)), nl=False)


def _check(at_least_one: dict[str, int]) -> None:
    for flag, value in at_least_one.items():
        if value < 1:
            raise UserError(f"{flag} is {value}.", "Use at least 1.")


def _show(jobs: Sequence[Job], slots: int) -> None:
    """What there is to do, as a table, and its sum."""
    from agsm_bench.reproduce.execute import minutes_left

    width = max(len(job.folder.name) for job in jobs)
    typer.echo(f"{'run':<{width}}  minutes     MB  for")
    for job in jobs:
        todo = (
            f"{job.estimate.seconds / 60:7.1f} {job.estimate.size / 1e6:6.1f}" if not job.done else f"{'complete':>14}"
        )
        typer.echo(f"{job.folder.name:<{width}}  {todo}  {','.join(job.users)}")
    left = [job for job in jobs if not job.done]
    megabytes = sum(job.estimate.size for job in left) / 1e6
    typer.echo(
        f"{len(left)} of {len(jobs)} runs to do: about {minutes_left(left, slots):.0f} minutes with --jobs {slots}, "
        f"{megabytes:.0f} MB."
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second call out of the folder; an interrupted one says how to go on."""
    from agsm_bench.folders import ensure_writable
    from agsm_bench.locking import alone

    ensure_writable(folder)
    try:
        with alone(folder / LOCK, folder):
            yield
    except KeyboardInterrupt as error:
        fix = "Run the same command to go on."
        raise UserError(f"Interrupted; {folder} keeps what is done.", fix, ExitCode.INTERRUPTED) from error


@contextmanager
def _progress() -> Iterator[Notice]:
    """A line for every run that ends and, on a terminal, one that is kept up to date."""
    from agsm_bench.reproduce.execute import State

    console = plain_console(stderr=True, highlight=False)
    with console.status("Looking at what is there …") as status:

        def show(state: State, ended: Job | None) -> None:
            text = f"{state.done} of {state.total} runs done, about {state.minutes_left:.1f} minutes left"
            if ended:
                console.print(f"{text}: {ended.folder.name}", soft_wrap=True)
            status.update(f"{text}; running {', '.join(state.running)}")

        yield show


def _complain(failures: Sequence[Failure]) -> None:
    for failure in failures:
        print(f"failed: agsm-bench {shlex.join(failure.job.arguments)}", file=sys.stderr)
        print(f"        {failure.reason}", file=sys.stderr)
    if failures:
        many = f"{len(failures)} runs" if len(failures) > 1 else "1 run"
        raise UserError(
            f"{many} failed.", "Mend what their last lines say and run the same command.", ExitCode.REGRESSION
        )
