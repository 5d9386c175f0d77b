"""`agsm-bench metrics verify`: each metric on shipped images, against values that a maintainer has recorded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np

from agsm_bench.errors import MissingError
from agsm_bench.folders import read_json, write_json
from agsm_bench.scoring.items import Item
from agsm_bench.scoring.judging import judged
from agsm_bench.scoring.selection import Chosen, Weights, choose, known
from agsm_bench.scoring.settings import PassSettings
from agsm_bench.scoring.sheet import FolderSheet
from agsm_bench.scoring.sources import read_items

SHIPPED = Path(__file__).parent / "verification"
"""`shapes/` and `photo/`: images, references, masks and prompts.csv; expected.json."""
EXPECTED = SHIPPED / "expected.json"
TOLERANCE = 1e-3
"""Of the metric's largest recorded value: between devices and versions of torch."""
STATISTICS = 8
"""Numbers kept of the features of a metric of sets."""

State = Literal["ok", "differs", "recorded", "not recorded", "skipped"]


@dataclass(frozen=True)
class Check:
    """What became of one metric."""

    name: str
    state: State
    says: str


def verify(names: Sequence[str], weights: Weights, settings: PassSettings, *, record: bool = False) -> Iterator[Check]:
    """Checks metrics by full name, all of them without names; `record` writes what they give as expected.

    Raises:
        UserError: an unknown metric.
    """
    for name in names or sorted(known()):
        try:
            (chosen,) = choose([name], {name: weights[name]} if name in weights else None)
            values = values_of(chosen, name, settings)
        except MissingError as error:
            yield Check(name, "skipped", str(error))
            continue
        yield _recorded(name, chosen, values) if record else _compared(name, chosen, values)


def values_of(chosen: Chosen, name: str, settings: PassSettings) -> list[float | None]:
    """Raw scores of the shipped images; of a metric of sets, the means of each image's features in blocks."""
    folder = SHIPPED / (chosen.metric.domain or "photo")
    found: list[float | None] = []
    with tempfile.TemporaryDirectory() as scratch, FolderSheet(Path(scratch)) as sheet:
        items: list[Item] = read_items(
            folder / "images", folder / "prompts.csv", folder / "references", folder / "masks"
        )
        for outcomes in judged(sheet.lacking(items, [chosen]), [chosen], settings, lambda *_: None):
            for outcome in outcomes:
                if isinstance(outcome.value, np.ndarray):
                    blocks = np.array_split(outcome.value, min(STATISTICS, len(outcome.value)))
                    found.extend(float(block.mean()) for block in blocks)
                else:
                    found.append(outcome.value)
    return found


def _recorded(name: str, chosen: Chosen, values: list[float | None]) -> Check:
    expected = _expected()
    entry = {"values": values, "version": chosen.version_of(name), "date": datetime.now(UTC).date().isoformat()}
    write_json(EXPECTED, dict(sorted((expected | {name: entry}).items())))
    return Check(name, "recorded", f"{len(values)} values")


def _compared(name: str, chosen: Chosen, values: list[float | None]) -> Check:
    expected = _expected().get(name)
    if expected is None:
        return Check(name, "not recorded", "No maintainer with these weights has run it with --record yet.")
    if expected["version"] != chosen.version_of(name):
        return Check(name, "differs", f"the weights are {chosen.version_of(name)}, recorded with {expected['version']}")
    pairs = list(zip(values, expected["values"], strict=False))
    allowed = TOLERANCE * max((abs(value) for value in expected["values"] if value is not None), default=0)
    wrong = [(i, one, other) for i, (one, other) in enumerate(pairs) if not _alike(one, other, allowed)]
    if wrong or len(values) != len(expected["values"]):
        number, one, other = wrong[0] if wrong else (len(pairs), None, None)
        return Check(name, "differs", f"value {number} is {one}, and {other} was recorded")
    return Check(name, "ok", f"{len(values)} values, as recorded")


def _alike(one: float | None, other: float | None, allowed: float) -> bool:
    if one is None or other is None:
        return one is other
    return isfinite(one) and abs(one - other) <= allowed


def _expected() -> dict[str, Any]:
    return read_json(EXPECTED, "Reinstall agsm-bench.") if EXPECTED.exists() else {}
