"""`agsm-bench push TOKENS REPO`: upload soft tokens with a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def push(
    tokens: Annotated[Path, typer.Argument(help="Folder or file of soft tokens, e.g. runs/agsm.")],
    repo: Annotated[str, typer.Argument(help="Where to, as USER/NAME; made if it is not there.")],
    licence: Annotated[
        str | None, typer.Option("--license", help="Licence for the card, e.g. apache-2.0. (default: none stated)")
    ] = None,
    results: Annotated[
        list[Path] | None, typer.Option(help="Run folder of `agsm-bench eval` for the card; may be repeated.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be uploaded, and stop.")] = False,
) -> None:
    """Upload soft tokens with a model card to the Hugging Face hub.

    \b
    agsm-bench push runs/agsm USER/agsm-sd15 --license apache-2.0 --results runs/agsm-geneval --dry-run
    agsm-bench push runs/agsm USER/agsm-sd15 --license apache-2.0 --results runs/agsm-geneval
    """
    from agsm_bench import push as pushing

    files = pushing.bundle(tokens, repo, licence, results or [])
    if dry_run:
        typer.echo(f"Would go to https://huggingface.co/{repo}{' (private)' if private else ''}:")
        for name, data in files.items():
            typer.echo(f"  {name:<26} {len(data):>9,} bytes")
        typer.echo(f"\n{pushing.CARD_FILE}:\n\n{files[pushing.CARD_FILE].decode()}", nl=False)
        return
    if licence is None:
        typer.echo("The card states no licence: --license apache-2.0, for one, says it.", err=True)
    typer.echo(f"Uploaded: {pushing.push(files, repo, private)}")
