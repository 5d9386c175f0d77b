"""`agsm-bench view`: runs side by side, as a folder of static pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agsm_bench.errors import ExitCode, UserError


def view(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; the others are compared with the first.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the page: a new one, or that of an earlier page, which is replaced.")
    ] = Path("view"),
    serve: Annotated[bool, typer.Option("--serve", help="Serve it on 127.0.0.1 until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(help="With --serve; 0 takes a free one.", min=0, max=65535)] = 8765,
) -> None:
    """Write a page of runs side by side: numbers, pictures, training; opens from disk.

    \b
    agsm-bench view runs/base runs/agsm-geneval
    agsm-bench view results/runs/geneval-shapes-mmdit results/runs/geneval-agsm-shapes-mmdit-0 --out compared
    agsm-bench view runs/base --serve
    """
    from agsm_bench.cli.progress import phases
    from agsm_bench.report.view.build import write_view
    from agsm_bench.report.view.serve import address_of, server_of

    try:
        with phases("view") as progress:
            page = write_view(runs, out, progress)
    except KeyboardInterrupt as error:
        fix = "Run the same command to go on."
        raise UserError(f"Interrupted; {out} keeps its pictures.", fix, ExitCode.INTERRUPTED) from error
    if not serve:
        typer.echo(f"Page: {page}")
        return
    with server_of(out, port) as server:
        typer.echo(f"Serving {out} at {address_of(server)} (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo()
