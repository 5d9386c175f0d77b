"""A comparison for the terminal, for a pull request, for scripts, and for what reads JUnit's XML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agsm_bench.report.runs import SHARES
from agsm_bench.terminal import plain_console

if TYPE_CHECKING:
    from agsm_bench.compare import Comparison, Finding

ARROWS = {"up": "↑", "down": "↓"}
STYLES = {
    "better": "bold green",
    "worse": "bold red",
    "within noise": "dim",
    "within tolerance": "yellow",
    "not comparable": "yellow",
}
SIGNS = {"better": "▲", "worse": "▼", "within noise": "=", "within tolerance": "≈", "not comparable": "?"}
"""So that colour alone never carries the meaning."""
HEAD = ("metric", "", "baseline", "run", "difference, 95% interval", "loss not ruled out", "to see", "takes", "verdict")


def headline(found: Comparison) -> str:
    """The result in one line."""
    tested = [each for each in found.findings if each.tested]
    if failed := [*found.regressions, *found.untestable]:
        worse = [each.name for each in found.regressions]
        unable = [f"{each.name} cannot be compared" for each in found.untestable]
        return f"REGRESSION ({len(failed)} of {len(tested)} tested metrics): {', '.join([*worse, *unable])}"
    better = [each.name for each in tested if each.verdict == "better"]
    return f"No regression in {len(tested)} tested metrics" + (f"; better: {', '.join(better)}" if better else "")


def cells(finding: Finding) -> list[str]:
    """A row, in the order of `HEAD`; shares in per cent and points."""
    shown = _Scale(finding)
    head = [finding.name, ARROWS.get(finding.direction, ""), shown.value(finding.base), shown.value(finding.value)]
    verdict = f"{SIGNS[finding.verdict]} {finding.verdict}"
    if finding.effect is None:
        return [*head, "", "", "", "", f"{verdict}: {finding.reason}"]
    low, high = finding.interval
    loss = max(0.0, high if finding.direction == "down" else -low)
    needed = "more seeds" if finding.prompts_needed is None else f"{finding.prompts_needed:,} {_units(finding)}"
    interval = f"{shown.signed(finding.effect.value)} ({shown.signed(low)} to {shown.signed(high)})"
    tolerated = f" (tolerance {shown.plain(finding.tolerance)})" if finding.tolerance else ""
    enough = "–" if low == high else needed
    return [*head, interval, shown.plain(loss), shown.plain(finding.visible), enough, verdict + tolerated]


def footnotes(found: Comparison) -> list[str]:
    """How to read the table."""
    tested = sum(each.tested for each in found.findings)
    return [
        *found.notes,
        f"Run minus baseline, paired by image, prompts resampled; shares in percentage points. {tested} metrics are "
        "tested, by Holm's correction at 2.5% in each direction; intervals, and the verdicts of further metrics, are "
        "not corrected.",
        "Loss not ruled out: the interval's end. To see a difference as large as the column says, at 80% power, takes "
        "so many prompts, or more seeds where training seeds alone differ by as much.",
    ]


def to_markdown(found: Comparison) -> str:
    """For a pull request's comment: the tested metrics, and the others folded away."""
    tested = [each for each in found.findings if each.tested]
    others = [each for each in found.findings if not each.tested]
    mark = "❌" if found.code else "✅"
    lines = [f"### {mark} {headline(found)}", "", f"`{found.run.name}` against `{found.base.name}`", ""]
    lines += [*_table(tested), ""]
    if others:
        lines += [f"<details><summary>{len(others)} further metrics, not tested</summary>", "", *_table(others), ""]
        lines += ["</details>", ""]
    return "\n".join([*lines, *(f"{note}  " for note in footnotes(found))]) + "\n"


def to_json(found: Comparison) -> str:
    """Everything, as plain data; p-values of tested metrics are corrected."""
    data = {
        "schema": 1,
        "run": found.run.name,
        "baseline": found.base.name,
        "baseline_seeds": found.base.seeds,
        "regression": bool(found.code),
        "headline": headline(found),
        "metrics": [_record(each) for each in found.findings],
        "notes": list(found.notes),
    }
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_junit(found: Comparison) -> str:
    """A test case a metric: failed where it regressed, in error where it was to be tested and cannot be, else skipped
    where it is not tested."""
    from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

    suite = TestSuite("agsm-bench compare")
    for each in found.findings:
        case = TestCase(each.name, classname=f"{found.run.spec.benchmark}.{found.run.spec.backbone}", time=0)
        text = ", ".join(f"{name} {value}" for name, value in zip(HEAD[2:], cells(each)[2:], strict=True) if value)
        if each.verdict == "not comparable":
            case.result = [Error(each.reason) if each.tested else Skipped(each.reason)]
        elif not each.tested:
            case.result = [Skipped(f"not tested: {each.verdict}")]
        elif each.verdict == "worse":
            case.result = [Failure(text)]
        case.system_out = text
        suite.add_testcase(case)
    suite.update_statistics()
    document = JUnitXml("agsm-bench compare")
    document.add_testsuite(suite)
    document.update_statistics()
    return str(document.tostring().decode())


def to_terminal(found: Comparison) -> str:
    """As a table, 130 columns wide where there is no terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    console = plain_console(highlight=False)
    if not console.is_terminal:
        console.width = 150
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in HEAD:
        table.add_column(
            name, justify="left" if name in ("metric", "", "verdict") else "right", no_wrap=name == "metric"
        )
    tested = sum(each.tested for each in found.findings)
    for number, each in enumerate(found.findings, 1):
        *row, verdict = cells(each)
        table.add_row(*row, Text(verdict, STYLES[each.verdict]), end_section=number == tested)
    with console.capture() as captured:
        console.print(Text(headline(found), "bold red" if found.code else "bold"))
        console.print(Text(f"{found.run.name} against {found.base.name}", "dim"))
        console.print(table)
        for note in footnotes(found):
            console.print(Text(note, "dim"))
    return captured.get()


class _Scale:
    """How a metric's numbers are written."""

    def __init__(self, finding: Finding) -> None:
        self._share = finding.name.startswith(SHARES)

    def value(self, number: float | None) -> str:
        if number is None:
            return "–"
        return f"{100 * number:.1f}" if self._share else f"{number:.4g}"

    def plain(self, number: float) -> str:
        return f"{100 * number:.2g}" if self._share else f"{number:.2g}"

    def signed(self, number: float) -> str:
        text = f"{100 * number:+.1f}" if self._share else f"{number:+.2g}"
        return text.replace("-", "−") if float(text) else "0"


def _units(finding: Finding) -> str:
    return "groups" if finding.name.startswith("denoising/") else "prompts"


def _table(findings: Sequence[Finding]) -> list[str]:
    rows = [[cell.replace("|", "\\|") for cell in cells(each)] for each in findings]
    return [f"| {' | '.join(row)} |" for row in (HEAD, ["---"] * len(HEAD), *rows)]


def _record(finding: Finding) -> dict[str, Any]:
    names = ("name", "direction", "tested", "verdict", "base", "value", "tolerance")
    own = {name: getattr(finding, name) for name in names}
    if finding.effect is None:
        return own | {"reason": finding.reason}
    low, high = finding.interval
    own |= {"difference": finding.effect.value, "low": low, "high": high}
    counts = {"n": finding.effect.n, "prompts": finding.effect.clusters}
    p_values = {name: getattr(finding, name) for name in ("p_worse", "p_loss", "p_better")}
    power = {"visible": finding.visible, "prompts_needed": finding.prompts_needed}
    return own | counts | p_values | power
