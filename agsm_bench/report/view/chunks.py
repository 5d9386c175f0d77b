"""A page's data as scripts that hold one call each: the only data that a page read from disk may load.

`data/index-*.js` has what filters need of every sample, and is loaded at once; `data/rows-*.js` has pictures,
detections and reasons, and is loaded for the samples that are looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from math import ceil, isfinite
from os import cpu_count
from pathlib import Path
from typing import Any

from agsm_bench.benchmark import Given
from agsm_bench.contracts import Progress
from agsm_bench.errors import UserError
from agsm_bench.images import UNREADABLE
from agsm_bench.jsonl import write_atomically
from agsm_bench.report.view.loading import Shown, Viewed
from agsm_bench.report.view.pictures import Shot, Thumbnails, mask_source
from agsm_bench.types import Prompt

DATA = "data"
INDEX_ROWS = 4096
"""Samples of a file of the index."""
ROWS = 32
"""Samples of a file of pictures: about a screen."""
THREADS = min(8, cpu_count() or 1)


def write_data(shown: Shown, folder: Path, progress: Progress) -> None:
    """Writes the data of a page and removes those of an earlier one."""
    (folder / DATA).mkdir(exist_ok=True)
    names = {_write(folder, "index", *item) for item in enumerate(index_chunks(shown))}
    maker, total = _Rows(shown, Thumbnails(folder), givens_of(shown)), ceil(len(shown.samples) / ROWS)
    with ThreadPoolExecutor(THREADS) as threads:
        for number in range(total):
            samples = shown.samples[number * ROWS : (number + 1) * ROWS]
            names.add(_write(folder, "rows", number, list(threads.map(maker.row, samples))))
            progress("pictures", min((number + 1) * ROWS, len(shown.samples)), len(shown.samples))
    for path in (folder / DATA).glob("*.js"):
        if path.name not in names:
            path.unlink()
    maker.thumbnails.prune()


def index_chunks(shown: Shown) -> Iterator[dict[str, Any]]:
    """What filters need, column by column."""
    tags = {tag: number for number, tag in enumerate(shown.tags)}
    for start in range(0, len(shown.samples), INDEX_ROWS):
        samples = shown.samples[start : start + INDEX_ROWS]
        asked = [shown.prompt(sample) for sample in samples]
        texts = {text: number for number, text in enumerate(dict.fromkeys(prompt.text for prompt in asked))}
        yield {
            "ids": samples,
            "texts": list(texts),
            "text": [texts[prompt.text] for prompt in asked],
            "tag": [tags[prompt.tag] for prompt in asked],
            "values": [
                [[_number(each.values.get(s, {}).get(metric.name), metric.scale_shown) for s in samples]
                 for metric in shown.metrics]
                for each in shown.runs
            ],
        }  # fmt: skip


def givens_of(shown: Shown) -> dict[str, Given]:
    """By prompt id, what the benchmark gives with the prompts; of those whose data are not on this machine, nothing."""
    spec, benchmark = shown.spec, shown.benchmark
    try:
        own = {prompt.id: prompt for prompt in benchmark.prompts(spec.domain)}
        same = {key: own[key] for key, prompt in shown.prompts.items() if key in own and own[key].text == prompt.text}
        found = {key: benchmark.given(spec.domain, prompt, spec.size) for key, prompt in same.items()}
    except (UserError, OSError, LookupError, ValueError):
        return {}
    return {key: given for key, given in found.items() if given}


@dataclass(frozen=True)
class _Rows:
    """Makes the rows of pictures, in threads."""

    shown: Shown
    thumbnails: Thumbnails
    givens: Mapping[str, Given]

    def row(self, sample_id: str) -> dict[str, Any]:
        prompt = self.shown.prompt(sample_id)
        row: dict[str, Any] = {"runs": [self._of_run(each, sample_id) for each in self.shown.runs]}
        return row | ({"given": self._given(prompt)} if prompt.id in self.givens else {})

    def _of_run(self, each: Viewed, sample_id: str) -> dict[str, Any]:
        boxes = [
            [found.label, found.color, round(found.score, 3), *(round(side, 2) for side in found.box)]
            for found in each.detections.get(sample_id, ())
            if all(map(isfinite, (found.score, *found.box)))
        ]
        why = each.reasons.get(sample_id, {})
        numbers = {metric.name: number for number, metric in enumerate(self.shown.metrics)}
        reasons = {numbers[name]: text for name, text in why.items() if name in numbers}
        looked = {"boxes": boxes} if sample_id in each.detections else {}
        return _record(self._shot(each, sample_id)) | looked | ({"why": reasons} if reasons else {})

    def _shot(self, each: Viewed, sample_id: str) -> Shot:
        recorded = each.run.records.images.get(sample_id)
        if not recorded:
            return Shot(absent="the run has no image here")

        def read() -> bytes:
            data = each.run.read_image(sample_id)
            if data is None:
                raise ValueError("the image is absent or altered")
            return data

        return self.thumbnails.shot(str(recorded), read)

    def _given(self, prompt: Prompt) -> dict[str, Any]:
        given = self.givens[prompt.id]
        shot = self.thumbnails.shot(
            sha256(f"given {given.key} {self.shown.spec.size}".encode()).hexdigest(), given.picture
        )
        record = _record(shot) | ({"text": given.source} if given.source else {})
        try:
            return record | ({"mask": mask_source(given.mask())} if given.mask and shot.source else {})
        except UNREADABLE:
            return record


def _record(shot: Shot) -> dict[str, Any]:
    return {"absent": shot.absent} if shot.absent else {"src": shot.source, "w": shot.width, "h": shot.height}


def _number(value: float | None, scale: float) -> float | int | None:
    if value is None:
        return None
    short = float(f"{scale * value:.6g}")
    return int(short) if short.is_integer() else short


def _write(folder: Path, kind: str, number: int, data: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON in ASCII is a literal of a script, whatever its texts say."""
    name = f"{kind}-{number}.js"
    script = f'agsmView("{kind}",{number},{json.dumps(data, separators=(",", ":"), allow_nan=False)})\n'
    write_atomically(folder / DATA / name, script.encode("ascii"), sync=False)
    return name
