"""`agsm-bench claims`: what the runs say of the paper's claims."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agsm_bench.cli.writable import writable
from agsm_bench.jsonl import write_named
from agsm_bench.terminal import plain_console

if TYPE_CHECKING:
    from agsm_bench.report.claims import Claims, Judged


class Format(StrEnum):
    RICH = "rich"
    MD = "md"
    JSON = "json"


def claims(
    format: Annotated[Format, typer.Option(help="How to print them.")] = Format.RICH,
    runs: Annotated[list[Path] | None, typer.Option(help="A further run folder; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="A file to write instead of the standard output.")] = None,
) -> None:
    """Test the paper's claims on the runs that are there.

    Effects are paired by image and training seed, intervals come from a bootstrap over prompts and seeds, and
    Holm's correction covers all claims. Runs ship with the package; your own below ./runs count, too.

    \b
    agsm-bench claims
    agsm-bench claims --format json --out results/claims.json
    agsm-bench reproduce --claims --dry-run
    """
    from agsm_bench.report.claims import judge, load_claims, to_json
    from agsm_bench.report.runs import find_runs

    loaded = load_claims()
    judged = judge(loaded, find_runs(runs or ()))
    if format is Format.JSON:
        text = json.dumps(to_json(loaded, judged), indent=1) + "\n"
    else:
        text = terminal(loaded, judged) if format is Format.RICH else _markdown(loaded, judged)
    if out is None:
        typer.echo(text, nl=False)
        return
    with writable(out):
        write_named(out, text.encode())


def rows(judged: Sequence[Judged]) -> list[list[str]]:
    """A line a part: claim, backbone, verdict, effect with its interval, seeds and images."""
    lines = []
    for one in judged:
        for index, finding in enumerate(one.findings):
            head = ["", "", ""] if index else [one.claim.key, one.claim.backbone, one.verdict]
            found = finding.effect
            if found is None:
                lines.append([*head, finding.part.text, "no runs", "", "", ""])
                continue
            low, high = found.interval()
            value = f"{100 * found.value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
            counts = (found.seeds, found.seeds * found.n, found.clusters)
            lines.append([*head, finding.part.text, value, *map(str, counts)])
    return lines


HEADER = ("claim", "backbone", "verdict", "effect", "points, 95% interval", "seeds", "images", "prompts")


def _notes(claims: Claims, judged: Sequence[Judged]) -> list[str]:
    from agsm_bench.report.claims import overall

    texts = {one.claim.key: one.claim.text for one in judged}
    verdicts = {key: overall([one.verdict for one in judged if one.claim.key == key]) for key in texts}
    return [
        *(f"{key}: {text}: {verdicts[key]}." for key, text in texts.items()),
        *(["Where runs or seeds are missing: agsm-bench reproduce --claims"] if any(j.reason for j in judged) else []),
        f"Intervals are not corrected; verdicts are, by Holm over {len(judged)} tests in either direction, errors "
        f"together at most {claims.level:.0%}. A claim does not hold where its effect is shown to be below "
        f"{100 * claims.margin:g} point.",
    ]


def _markdown(claims: Claims, judged: Sequence[Judged]) -> str:
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += ["| " + " | ".join(row) + " |" for row in rows(judged)]
    return "\n".join([*lines, "", *(f"{note}  " for note in _notes(claims, judged))]) + "\n"


def terminal(claims: Claims, judged: Sequence[Judged]) -> str:
    """The findings as they are printed on the terminal."""
    from rich.table import Table

    console = plain_console(highlight=False)
    if not console.is_terminal:
        console.width = 130
    table = Table(box=None, pad_edge=False)
    for name in HEADER:
        table.add_column(name, no_wrap=True, justify="right" if name in ("seeds", "images", "prompts") else "left")
    for row in rows(judged):
        table.add_row(*row)
    with console.capture() as captured:
        console.print(table, crop=False)
        for note in ("", *_notes(claims, judged)):
            console.print(note)
    return captured.get()
