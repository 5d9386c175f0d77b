"""What a run folder has recorded: which images are finished, and how they scored."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import isfinite
from operator import attrgetter
from pathlib import Path
from typing import Any

from agsm_bench.jsonl import Journal
from agsm_bench.types import Score

_FIELDS = tuple(each.name for each in fields(Score))
_fields_of = attrgetter(*_FIELDS)  # `asdict` copies deeply, which takes longer than the rest of a line
_SHARED = ("sample_id", "metric", "version")
"""Texts that many scores have in common."""
_SAMPLE_ID = re.compile(r"([^/\\.\0][^/\\\0]*)/([0-9]{4,9})")
LONGEST_ID = 200
"""Bytes of a prompt's id, which is a folder's name."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A score, and the hash of the image that it judges (None: there was no image to judge)."""

    score: Score
    image: str | None


class Records:
    """`samples.jsonl` and `scores.jsonl` of a folder; of several lines on one thing the last counts.

    A score counts only while the image that it judges is the one recorded: an image that comes out
    otherwise when it is made again is scored again.
    """

    def __init__(self, folder: Path) -> None:
        self._samples = Journal(folder / "samples.jsonl")
        self._scores = Journal(folder / "scores.jsonl")

    @cached_property
    def images(self) -> dict[str, str]:
        """Sample id -> SHA-256 (hex) of the PNG."""
        return dict(self._samples.read(_parse_image))

    @cached_property
    def _verdicts(self) -> dict[str, dict[str, Verdict]]:
        """Metric -> sample id -> verdict: a mapping of its own for each of a million samples would take most memory."""
        verdicts: dict[str, dict[str, Verdict]] = {}
        images = self.images
        for verdict in self._scores.read(lambda record: _parse_verdict(record, images)):
            verdicts.setdefault(verdict.score.metric, {})[verdict.score.sample_id] = verdict
        return verdicts

    def scores_of(self, sample_id: str) -> dict[str, Score]:
        """The scores that count, by metric."""
        return {verdict.score.metric: verdict.score for verdict in self._counting(sample_id)}

    def scores(self) -> dict[str, dict[str, Score]]:
        """Sample id -> metric -> the score that counts, sorted."""
        scores = {sample_id: self.scores_of(sample_id) for sample_id in self._judged_samples()}
        return {sample_id: row for sample_id, row in scores.items() if row}

    def scores_by(self, metric: str) -> dict[str, Score]:
        """Sample id -> the score of a metric that counts, sorted."""
        own = self._verdicts.get(metric, {})
        return {key: own[key].score for key in sorted(own) if own[key].image == self.images.get(key)}

    def verdicts(self) -> Iterator[Verdict]:
        """The scores that count with their images, sorted."""
        for sample_id in self._judged_samples():
            yield from self._counting(sample_id)

    def _judged_samples(self) -> list[str]:
        return sorted(set().union(*self._verdicts.values()))

    def _counting(self, sample_id: str) -> Iterator[Verdict]:
        image = self.images.get(sample_id)
        for metric in sorted(self._verdicts):
            verdict = self._verdicts[metric].get(sample_id)
            if verdict and verdict.image == image:
                yield verdict

    def add_image(self, sample_id: str, digest: str) -> None:
        self._samples.append([_image_record(sample_id, digest)])
        self.images[sample_id] = digest

    def add_scores(self, scores: Sequence[Score]) -> None:
        verdicts = [self._judged(score) for score in scores]
        self._scores.append(map(_verdict_record, verdicts))
        for verdict in verdicts:
            self.keep(verdict)

    def keep(self, verdict: Verdict) -> None:
        """Counts a verdict; `rewrite` brings it to disk."""
        self._verdicts.setdefault(verdict.score.metric, {})[verdict.score.sample_id] = verdict

    def repair(self) -> None:
        """Before the first append."""
        self._samples.repair()
        self._scores.repair()

    def rewrite(self) -> None:
        """Both files sorted, without what no longer counts."""
        verdicts = list(self.verdicts())
        self._samples.replace(_image_record(*item) for item in sorted(self.images.items()))
        if verdicts or self._scores.path.exists():
            self._scores.replace(map(_verdict_record, verdicts))

    def _judged(self, score: Score) -> Verdict:
        split_id(score.sample_id)
        image = self.images.get(score.sample_id)
        if score.value is None:
            if not score.reason:
                raise ValueError(f"unscored without a reason: {score}")
            return Verdict(score, image)
        if image is None:
            raise ValueError(f"no image was recorded: {score}")
        if not isfinite(score.value):
            raise ValueError(f"neither a finite value nor None with a reason: {score}")
        return Verdict(replace(score, value=float(score.value)), image)


def split_id(sample_id: str) -> tuple[str, str]:
    """Prompt id and index of a sample id; ValueError for one that leads out of the run folder, or can be no name."""
    found = _SAMPLE_ID.fullmatch(sample_id)
    if not found or len(found[1].encode()) > LONGEST_ID:
        raise ValueError(f"{sample_id!r} is no sample id")
    return found[1], found[2]


def parse_score(record: Mapping[str, Any]) -> Score:
    """A score as its line has it; raises ValueError or TypeError for what no metric gives."""
    score = Score(**record)
    # not `conforming`, which takes longer than all the rest of a line, and there are millions
    if not (type(score.sample_id) is type(score.metric) is type(score.version) is str):
        raise TypeError("its sample, metric or version is no text")
    if not isinstance(score.reason, str | None):
        raise TypeError("its reason is no text")
    if score.value is None:
        if not score.reason:
            raise ValueError("it is unscored without a reason")
    elif type(score.value) not in (int, float) or not isfinite(score.value):
        raise ValueError("its value is no finite number")
    return score


def _image_record(sample_id: str, digest: str) -> Mapping[str, Any]:
    return {"sample_id": sample_id, "sha256": digest}


def _verdict_record(verdict: Verdict) -> Mapping[str, Any]:
    return dict(zip(_FIELDS, _fields_of(verdict.score), strict=True)) | {"image": verdict.image}


def _parse_image(record: Any) -> tuple[str, str]:
    sample_id, digest = sys.intern(record["sample_id"]), record["sha256"]
    split_id(sample_id)
    if not isinstance(digest, str):
        raise TypeError("its hash is no text")
    return sample_id, digest


def _parse_verdict(record: Any, images: Mapping[str, str]) -> Verdict:
    """Equal texts are kept once: of a million samples they would be most of the memory."""
    record |= {key: sys.intern(record[key]) for key in _SHARED if key in record}
    image, score = record.pop("image"), parse_score(record)
    split_id(score.sample_id)
    if not isinstance(image, str | None):
        raise TypeError("the hash of its image is no text")
    recorded = images.get(score.sample_id)
    return Verdict(score, recorded if image == recorded else image)
