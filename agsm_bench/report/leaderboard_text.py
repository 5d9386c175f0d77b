"""A leaderboard as text: for the terminal, for a page, for programs, and for a model card on the hub."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict

from agsm_bench.errors import UserError
from agsm_bench.report.csv_cells import guarded
from agsm_bench.report.leaderboard import Leaderboard
from agsm_bench.report.runs import SHARES
from agsm_bench.terminal import plain_console

FURTHER = 4
"""Metrics besides the one that it is sorted by, on the terminal; the other formats have all."""
MARKS = {"first": "", "tied": "=", "apart": "", "unknown": "?"}


def to_rows(board: Leaderboard, further: int | None = None) -> list[list[str]]:
    """The table as text: a header, then a line a model; shares in per cent. `further` metrics; None: all of them."""
    arrow = {"up": "↑", "down": "↓"}
    others = [name for name in board.better if name != board.metric][:further]
    head = ["", "model", f"{board.metric} {arrow[board.better[board.metric]]}", "images", "seeds"]
    lines = [[*head, *(f"{_short(name)} {arrow[board.better[name]]}" for name in others)]]
    for row in board.rows:
        cell = row.cells[board.metric]
        value, low, high = (_number(board.metric, number) for number in (cell.value, cell.low, cell.high))
        rest = [_number(name, row.cells[name].value) for name in others]
        place = f"{row.rank}{MARKS[row.tie]}"
        lines.append([place, row.label, f"{value} ({low}–{high})", f"{cell.n:,}", str(cell.runs), *rest])
    return lines


def to_markdown(board: Leaderboard) -> str:
    """A table for a README or a pull request."""
    head, *rows = ([cell.replace("|", "\\|") for cell in line] for line in to_rows(board))
    lines = [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]
    return "\n".join([f"**{title(board)}**", "", *lines, "", *(f"{note}  " for note in board.notes)]) + "\n"


def to_csv(board: Leaderboard) -> str:
    """A line a model and metric, numbers as summary.json has them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "model", "tie", "metric", "better", "value", "low", "high", "images", "prompts", "seeds"])
    for row in board.rows:
        for name, better in board.better.items():
            cell, tie = row.cells[name], row.tie if name == board.metric else ""
            numbers = [cell.value, cell.low, cell.high, cell.n, cell.clusters, cell.runs]
            writer.writerow([row.rank, guarded(row.label), tie, name, better, *numbers])
    return text.getvalue()


def to_json(board: Leaderboard) -> str:
    """Everything that is shown, as plain data."""
    rows = [
        {"rank": row.rank, "model": row.label, "tie": row.tie, "runs": [path.as_posix() for path in row.folders]}
        | {"metrics": {name: asdict(row.cells[name]) for name in board.better}}
        for row in board.rows
    ]
    own = {"schema": 1, "benchmark": board.benchmark, "domain": board.domain, "metric": board.metric}
    return json.dumps(own | {"rows": rows, "notes": list(board.notes)}, indent=1, ensure_ascii=False) + "\n"


def to_model_index(board: Leaderboard) -> str:
    """The evaluation metadata of a model card on the hub, with its YAML header's lines.

    Raises:
        UserError: the runs are of several models, and a card is of one.
    """
    from huggingface_hub import EvalResult, ModelCardData

    if len(board.rows) > 1:
        raise UserError(
            f"A model card is of one model, and these runs are of {len(board.rows)}.",
            "Name the runs of one model, all its seeds.",
        )
    row = board.rows[0]
    results = [
        EvalResult(
            task_type="text-to-image",
            dataset_type=board.benchmark if board.domain == "photo" else f"{board.benchmark}-{board.domain}",
            dataset_name=title(board),
            dataset_config=board.domain,
            metric_type=name,
            metric_name=name,
            metric_value=row.cells[name].value,
            metric_args={"low": row.cells[name].low, "high": row.cells[name].high, "level": 0.95}
            | {"images": row.cells[name].n, "training_seeds": row.cells[name].runs, "better": better},
        )
        for name, better in board.better.items()
    ]
    return f"---\n{ModelCardData(model_name=row.label, eval_results=results).to_yaml()}\n---\n"


def to_terminal(board: Leaderboard) -> str:
    """The table as it is printed."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    console = plain_console(highlight=False)
    if not console.is_terminal:
        console.width = 140
    head, *rows = to_rows(board, FURTHER)
    table = Table(title=Text(title(board), "bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in head:
        left = name in ("", "model")
        table.add_column(Text(name), justify="left" if left else "right", no_wrap=name != "model", overflow="fold")
    for line in rows:
        table.add_row(*map(Text, line))
    with console.capture() as captured:
        console.print(table)
        more = len(board.better) - 1 - FURTHER
        for note in (*board.notes, *([f"{more} more metrics: --format md, csv or json."] if more > 0 else [])):
            console.print(Text(note, "dim"))
    return captured.get()


def title(board: Leaderboard) -> str:
    """What was measured."""
    return f"{board.benchmark}, domain {board.domain}"


def _short(name: str) -> str:
    """The name without its group, where that says enough."""
    group, _, last = name.rpartition("/")
    return group if last == "score" else last


def _number(name: str, value: float) -> str:
    return f"{100 * value:.1f}" if name.startswith(SHARES) else f"{value:.4g}"
