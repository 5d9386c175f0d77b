"""Table 11: the settings that our trainings of AGSM have, beside those that the paper states.

They are the defaults of each backbone, which its runs are checked against (`runs.fills`); where such runs are there
they are counted. `results/tables/table_11.toml` says which backbone stands where.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agsm_bench.report.files import readable, results_dir
from agsm_bench.report.fills import contents
from agsm_bench.report.recipes import Recipe, Training, training_settings
from agsm_bench.report.runs import Run, fills

if TYPE_CHECKING:
    from agsm_bench.report.tables import Row, Section

TRAINER = "agsm"
INIT = {"empty": "∅", "normal": "N(0, 0.02)"}
DIFFERS = "differs"
"""Mark of a setting that is not the paper's."""


def used_settings(number: int, section: Section, domain: str, runs: Sequence[Run]) -> Section | None:
    """A section of settings as our trainings have them, each marked that differs; None where nothing is known of it."""
    from agsm_bench.report.tables import Section

    path = results_dir() / "tables" / f"table_{number:02d}.toml"
    if not path.is_file():
        return None
    with readable(path):
        found = [e for e in contents(path).get("used", ()) if (e["section"], e["domain"]) == (section.key, domain)]
        if not found:
            return None
        papers = {row.key: row for row in section.rows}
        rows = tuple(_row(papers[key], backbone, runs) for key, backbone in found[0]["rows"].items())
    title = f"{section.title}, used on {domain}"
    return Section(section.key, title, section.row_header, section.columns, rows)


def _row(paper: Row, backbone: str, runs: Sequence[Run]) -> Row:
    from agsm_bench.report.tables import Row

    values = {key: settings_in_words(training_settings(Training(TRAINER, backbone)))[key] for key in paper.values}
    marks = {key: DIFFERS for key, value in values.items() if value != paper.values[key]}
    seeds = {run.seeds for run in runs if fills(Recipe("geneval", backbone, TRAINER), run)}
    made = f"{len(seeds)} trainings" if seeds else "defaults, no training of ours"
    return Row(f"used-{backbone}", paper.group, backbone, f"for {paper.label}: {made}", values, marks)


def settings_in_words(settings: Mapping[str, Any]) -> dict[str, str]:
    """Resolved options as Table 11 prints them; optimiser and schedule are those of `training.loop`."""
    batch = settings["batch"]
    return {
        "lr": _power(settings["learning_rate"]),
        "wd": _power(settings["weight_decay"]),
        "batch": f"{batch * batch}(1 : {batch - 1})",
        "iterations": f"{settings['steps']:,}",
        "token_init": INIT[settings["init"]],
        "optimizer": "AdamW",
        "lr_scheduler": "CosineAnnealingWarmRestarts",
    }


def _power(value: float) -> str:
    """0.003 as 3e-3."""
    digits, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"
