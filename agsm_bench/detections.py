"""What a detector found in each image of a run, kept so that verdicts can be given again without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agsm_bench.damage import fits
from agsm_bench.jsonl import Journal
from agsm_bench.records import split_id
from agsm_bench.types import Detection

DETECTIONS = "detections.jsonl"


@dataclass(frozen=True)
class Found:
    """The detections of one image."""

    sample_id: str
    image: str
    """SHA-256 of the PNG they were found in."""
    detections: tuple[Detection, ...]
    detector: str
    """Version of the detector."""


def read_detections(folder: Path) -> Iterator[Found]:
    """The lines of a run's `detections.jsonl`, none without the file; of several on one image the last counts.

    Raises:
        MissingError: a line is damaged.
    """
    return Journal(folder / DETECTIONS).read(_parse)


class DetectionStore:
    """`detections.jsonl` of a run folder, as far as it is of one version of the detector; of all with None."""

    def __init__(self, folder: Path, detector: str | None) -> None:
        self._journal = Journal(folder / DETECTIONS)
        self._journal.repair()
        lines = read_detections(folder)
        self._found = {found.sample_id: found for found in lines if detector in (None, found.detector)}

    def get(self, sample_id: str, image: str) -> tuple[Detection, ...] | None:
        """The detections in this very image, None where it was not looked at."""
        found = self._found.get(sample_id)
        return found.detections if found is not None and found.image == image else None

    def add(self, found: Found) -> None:
        """Records the detections of an image, without their masks: those of a whole run would fill the memory."""
        self._journal.append([_record(found)])
        found = replace(found, detections=tuple(replace(each, mask=None) for each in found.detections))
        self._found[found.sample_id] = found

    def finalise(self) -> None:
        """Sorts the file and drops what was replaced."""
        self._journal.replace(_record(self._found[key]) for key in sorted(self._found))

    def copy_from(self, others: Iterable[DetectionStore]) -> None:
        """Takes over what other shards found."""
        for other in others:
            self._found |= other._found
        if self._found:
            self.finalise()


def _record(found: Found) -> dict[str, Any]:
    rows = [{"class": d.label, "box": d.box, "score": d.score, "color": d.color} for d in found.detections]
    return {"sample_id": found.sample_id, "sha256": found.image, "detector": found.detector, "detections": rows}


def _parse(line: Mapping[str, Any]) -> Found:
    sample_id, image, detector = line["sample_id"], line["sha256"], line.get("detector", "1")
    split_id(sample_id)
    if not (isinstance(image, str) and isinstance(detector, str)):
        raise TypeError("its hash or detector is no text")
    return Found(sample_id, image, tuple(map(_detection, line["detections"])), detector)


def _detection(row: Mapping[str, Any]) -> Detection:
    label, color, (x0, y0, x1, y1) = row["class"], row["color"], row["box"]
    if not (isinstance(label, str) and isinstance(color, str | None)):
        raise TypeError("a class or colour is no text")
    if not all(fits(number, float) for number in (x0, y0, x1, y1, row["score"])):
        raise ValueError("a box or its score is no finite number")
    return Detection(label, (x0, y0, x1, y1), row["score"], color)
