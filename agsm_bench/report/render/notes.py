"""What is said below a table: how to read it, what is lacking, and the commands that fill it."""

from __future__ import annotations

from collections.abc import Iterator

from agsm_bench.report.commands import commands
from agsm_bench.report.derived import base_labels, has_differences, measured_groups
from agsm_bench.report.tables import Column, JoinedSection, JoinedTable, Measured, MeasuredRow, Section, is_of_images


def section_notes(section: JoinedSection, joined: JoinedTable) -> list[str]:
    """In the order in which they are printed; the last one announces `to_fill`."""
    measured, domain = section.measured, joined.domain
    if measured is None:
        return _unmeasured_section(section, joined)
    notes = [joined.stamp] if joined.stamp else []
    notes += _kinds(measured)
    notes += _unmeasured(section.published, measured)
    notes += _standing(measured)
    notes += [f"Protocol, {measured.benchmark}: {'; '.join(measured.protocol)}."]
    if any(row.cells for row in measured.rows):
        notes.append(
            "low–high: the 95% interval: of one run by bootstrap over prompts; of several, whose mean is shown, over "
            "prompts and training seeds (Student's). n: images of a run. The paper gives neither intervals nor seeds."
        )
    notes += _marks_and_differences(section)
    used = [run for row in measured.rows for run in row.runs]
    notes += [f"{run.name}: {run.unscored} images unscored." for run in used if run.unscored]
    notes += [f"{run.name}: {warning}" for run in used for warning in run.warnings]
    notes += [_lacking(row, measured) for row in measured.rows if row.cells and _missing(row, measured)]
    if measured.left_out:
        notes.append(f"Runs left out, {len(measured.left_out)}: {', '.join(_left_out(measured))}.")
    if to_fill(section):
        quick = " --quick" if joined.stamp else ""
        all_at_once = f" agsm-bench reproduce --table {joined.paper.number}{quick}, or:" * (domain == "shapes")
        notes.append(f"Not measured yet. To fill it:{all_at_once}")
    return notes


def to_fill(section: JoinedSection) -> list[str]:
    """The commands for the rows that nothing fills, each once."""
    measured = section.measured
    return list(dict.fromkeys(commands(row.recipe) for row in measured.rows if not row.cells)) if measured else []


def _missing(row: MeasuredRow, measured: Measured) -> list[Column]:
    """What the runs of a row ought to have, and no `score --metrics` has to add."""
    return [column for column in measured.columns if not column.optional and column.key not in row.cells]


def _lacking(row: MeasuredRow, measured: Measured) -> str:
    """What to type for the cells of a row that has runs."""
    missing = _missing(row, measured)
    wanted = ",".join(str(column.metric) for column in missing if is_of_images(str(column.metric)))
    flags = f" --metrics {wanted}" if wanted else ""
    labels, run = ", ".join(column.label for column in missing), row.runs[0].name
    return f"{run}: no {labels}. To fill it: agsm-bench score runs/{run}{flags}"


def _left_out(measured: Measured) -> Iterator[str]:
    """A run of each reason, and how many more there are."""
    alike: dict[str, list[str]] = {}
    for name, reason in measured.left_out:
        alike.setdefault(reason, []).append(name)
    for reason, (first, *more) in alike.items():
        yield f"{first}{f' and {len(more)} more' if more else ''} ({reason})"


def _unmeasured_section(section: JoinedSection, joined: JoinedTable) -> list[str]:
    if section.used:
        return ["Bold: another setting than the paper's. A training may state other options, which its row then names."]
    if not any(column.direction for column in section.published.columns):
        return []
    return [f"Nothing of this section is measured on {joined.domain}.", *_marks_and_differences(section)]


def _kinds(measured: Measured) -> list[str]:
    if measured.domain == "photo":
        return ["Published: the paper's numbers. Measured on photo: our runs, with the same metrics and scales."]
    return [
        f"Published: the paper's numbers, on photos. Measured on {measured.domain}: our runs. "
        "Compare the differences between rows, not the values."
    ]


def _unmeasured(section: Section, measured: Measured) -> list[str]:
    ours = {column.key for column in measured.columns}
    missing = [column.label for column in section.columns if column.direction and column.key not in ours]
    notes = [f"Not measured on {measured.domain}: {', '.join(missing)}."] if missing else []
    ours_rows = {row.key for row in measured.rows}
    rows = [row for row in section.rows if row.key not in ours_rows]
    names = [row.label if row.label == row.group else f"{row.label} on {row.group}" for row in rows]
    return [*notes, *([f"Nothing of ours stands for: {', '.join(names)}."] if names else [])]


def _standing(measured: Measured) -> list[str]:
    if measured.domain == "photo":
        return []
    notes = []
    for backbone, rows in measured_groups(measured):
        groups = ", ".join(dict.fromkeys(row.paper.group for row in rows if row.paper))
        place = f"stands for the paper's {groups}" if groups else "is not in the paper"
        notes.append(f"{backbone} {place}.")
    return notes


def _marks_and_differences(section: JoinedSection) -> list[str]:
    published = section.published
    printed = any(row.marks for row in published.rows)
    second = "as printed" if printed else "computed, where there are three rows or more"
    notes = [
        "Bold: the best of a backbone, computed from the values alone. "
        f"Underlined: the second best; published: {second}."
    ]
    measured = section.measured.rows if section.measured else ()
    keys = [row.key for row in published.rows], [row.key for row in measured]
    if any(has_differences(section, own) for own in keys):
        bases = ", ".join(base_labels(section)) or "the row without soft tokens"
        notes.append(
            f"Δ: difference to the row of its group that it starts from ({bases}); "
            "for its paired interval: agsm-bench compare."
        )
    if section.measured and section.measured.domain == "photo":
        notes.append("to paper: measured minus published.")
    return notes
