"""`agsm-bench data`: the photo domain's data."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from agsm_bench.cli.encode import encode
from agsm_bench.data import places
from agsm_bench.data.table import DATASETS, Dataset, dataset
from agsm_bench.errors import ExitCode, MissingError, UserError
from agsm_bench.terminal import plain_console

Name = Annotated[str, typer.Argument(help="Name of the dataset, see `agsm-bench data list`.")]

data = typer.Typer(help="Get, check and find the photo domain's data.", no_args_is_help=True, add_completion=False)


@data.callback()
def _group() -> None:
    """Get, check and find the photo domain's data.

    It goes to $AGSM_BENCH_DATA, else to the user's cache folder.

    \b
    agsm-bench data list
    agsm-bench data get coco-val2017
    agsm-bench data get pie-bench --from PIE-Bench_v1.zip
    agsm-bench data verify
    agsm-bench data encode --backbone sd15
    """


@data.command("list")
def list_data(
    format: Annotated[Literal["rich", "json"], typer.Option(help="How to print it.")] = "rich",
) -> None:
    """List the datasets: size, licence, whether they are there, source, checksum and folder."""
    states = {name: places.state(one) for name, one in DATASETS.items()}
    if format == "json":
        typer.echo(json.dumps([_as_json(one, states[name]) for name, one in DATASETS.items()], indent=1))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "state", "download", "licence", "what"):
        table.add_column(heading, justify="right" if heading == "download" else "left", no_wrap=heading != "what")
    for name, one in DATASETS.items():
        table.add_row(name, states[name], _size(one), one.licence, one.holds)
    console = plain_console(highlight=False)
    if not console.is_terminal:
        console.width = 130
    console.print(table)
    for name, one in DATASETS.items():
        checksum = one.checksum or "no published checksum"
        source = one.url or f"on request: {places.how_to_get(one)}"
        console.print(f"\n{name}: {source}\n  {checksum}\n  goes to {places.folder_of(one)}", soft_wrap=True)


def _as_json(one: Dataset, state: places.State) -> dict[str, Any]:
    return asdict(one) | {"state": state, "folder": str(places.folder_of(one))}


def _size(one: Dataset) -> str:
    if one.size is None:
        return "on request"
    return f"{one.size / 1e9:.1f} GB" if one.size >= 1e8 else f"{one.size / 1e6:.1f} MB"


@data.command()
def get(
    name: Name,
    source: Annotated[
        Path | None, typer.Option("--from", help="A local copy of the file, instead of downloading it.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Get it anew even where it is there.")] = False,
) -> None:
    """Download a dataset, check and unpack it; goes on where an interrupted call stopped."""
    from agsm_bench.cli.progress import phases
    from agsm_bench.data.get import get as get_data

    one = dataset(name)
    try:
        with phases(name, in_bytes=("download",)) as show:
            got = get_data(one, show, source=source, again=again)
    except KeyboardInterrupt as error:
        fix = "Run the same command to go on."
        raise UserError(f"Interrupted; {places.part_of(one)} keeps what is done.", fix, ExitCode.INTERRUPTED) from error
    folder = places.folder_of(one)
    lines = {
        "there already": f"{name} is there already: {folder}",
        "found": f"Found {name} in {folder} and recorded it as it is; it was not compared with its source.",
        "got": f"Got {name} ({got.checked}): {folder}",
    }
    typer.echo(lines[got.outcome])


@data.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="Name of the dataset. (default: all that are there)")] = None,
) -> None:
    """Read every file again and compare it with what was there when it was got; exit code 1 for damage."""
    from agsm_bench.cli.progress import phases

    chosen = [dataset(name)] if name else [one for one in DATASETS.values() if places.record_of(one).exists()]
    if not chosen:
        raise MissingError(f"No dataset is in {places.root()}.", "Get one: agsm-bench data get coco-captions")
    errors: list[UserError] = []
    for one in chosen:
        try:
            with phases(one.name) as show:
                wrong = places.damaged(one, show)
        except MissingError as error:
            if name:
                raise
            errors.append(error)
            continue
        if wrong:
            errors.append(places.damage(one, wrong))
        else:
            typer.echo(f"{one.name}: whole")
    if errors:
        message, fix = " ".join(e.message for e in errors), " ".join(e.fix for e in errors)
        raise UserError(message, fix, ExitCode.REGRESSION)


@data.command()
def path(name: Name) -> None:
    """Print the folder of a dataset; exit code 3 where it is not there."""
    typer.echo(places.ready(dataset(name)))


data.command("encode")(encode)
