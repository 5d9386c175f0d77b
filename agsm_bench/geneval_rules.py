"""GenEval's verdict on one image, and two stricter readings of the same detections.

The verdict follows evaluation/evaluate_images.py of github djghosh13/geneval (MIT), its wording included; the
protocol is the same for Mask2Former's boxes and for those of the shapes world's detector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agsm_bench.geneval_prompts import COLORS
from agsm_bench.shapes import vocabulary
from agsm_bench.types import Detection

THRESHOLD = 0.3
COUNTING_THRESHOLD = 0.9
MAX_PER_CLASS = 16
POSITION_SLACK = 0.1
"""Part of the two boxes' summed sizes that two centres may differ by without being beside each other."""
DIRECTION = 0.5
"""Least component of the shortened offset, relative to the whole offset, that makes a relation."""

PALETTE = tuple(dict.fromkeys((*COLORS, *vocabulary.COLORS)))
"""The order in which a reason lists colours: upstream's, then those that only the shapes world has."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Verdict:
    """Whether an image shows what its prompt asks for."""

    correct: bool
    reason: str
    """What is wrong, in upstream's words, one complaint a line; empty when correct."""


def kept(detections: Sequence[Detection], metadata: Mapping[str, Any]) -> dict[str, list[Detection]]:
    """The detections that count: by class, above the threshold, best first, at most 16.

    Of equal scores the later detection comes first, as in upstream's reversed argsort (whose own order of
    ties is up to the processor where NumPy sorts with vector instructions). Scores and thresholds are compared in
    float32, as upstream's are.
    """
    import numpy as np

    threshold = np.float32(COUNTING_THRESHOLD if metadata["tag"] == "counting" else THRESHOLD)
    sure = [detection for detection in reversed(detections) if np.float32(detection.score) > threshold]
    groups: dict[str, list[Detection]] = {}
    for detection in sorted(sure, key=lambda d: d.score, reverse=True):
        groups.setdefault(detection.label, []).append(detection)
    return {label: boxes[:MAX_PER_CLASS] for label, boxes in groups.items()}


def verdict(detections: Sequence[Detection], metadata: Mapping[str, Any]) -> Verdict:
    """Upstream's `evaluate`: every include clause must hold and no exclude clause may.

    Raises:
        ValueError: a colour is asked for and a chosen box carries none. It was never classified, and that is
            not a wrong colour. A detector that cannot tell gives a name of its own, such as `unclear`.
    """
    objects = kept(detections, metadata)
    complaints: list[str] = []
    matched: list[list[Detection] | None] = []
    for clause in metadata.get("include", ()):
        found = objects.get(clause["class"], [])[: clause["count"]]
        complaint = _unmet(clause, found, matched)
        matched.append(found if complaint is None else None)
        complaints += [] if complaint is None else [complaint]
    for clause in metadata.get("exclude", ()):
        label, count = clause["class"], len(objects.get(clause["class"], ()))
        if count >= clause["count"]:
            complaints.append(f"expected {label}<{clause['count']}, found {count}")
    return Verdict(not complaints, "\n".join(complaints))


def relations(a: Box, b: Box) -> tuple[str, ...]:
    """Where box a lies from box b: none, one or two of the four relations.

    In float32, as upstream's boxes are: boxes of masks have whole-number corners, which makes exact ties
    real.
    """
    import numpy as np

    corners = np.asarray([a, b], dtype=np.float32)
    sizes = np.abs(corners[:, 2:] - corners[:, :2])
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    offset = centres[0] - centres[1]
    shortened = np.sign(offset) * np.maximum(np.abs(offset) - POSITION_SLACK * sizes.sum(axis=0), 0)
    if (np.abs(shortened) < 1e-3).all():
        return ()
    right, down = shortened / np.linalg.norm(offset)
    holds = (right < -DIRECTION, right > DIRECTION, down < -DIRECTION, down > DIRECTION)
    return tuple(name for name, true in zip(vocabulary.RELATIONS, holds, strict=True) if true)


def strict(detections: Sequence[Detection], metadata: Mapping[str, Any]) -> bool:
    """Exactly the asked scene: correct, and nothing else in sight.

    GenEval itself tolerates more objects than were asked for, except in counting. With exact counts the
    verdict's colour check covers every object of its class, so colours need no second look.
    """
    found = {label: len(boxes) for label, boxes in kept(detections, metadata).items()}
    return found == _asked(metadata) and verdict(detections, metadata).correct


def count_errors(detections: Sequence[Detection], metadata: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether the image holds more, and whether it holds fewer objects than the prompt asks for in total."""
    found = sum(map(len, kept(detections, metadata).values()))
    asked = sum(_asked(metadata).values())
    return found > asked, found < asked


def _asked(metadata: Mapping[str, Any]) -> dict[str, int]:
    """Objects of each class; clauses on the same class do not add up, upstream treats them independently."""
    asked: dict[str, int] = {}
    for clause in metadata.get("include", ()):
        asked[clause["class"]] = max(clause["count"], asked.get(clause["class"], 0))
    return asked


def _unmet(
    clause: Mapping[str, Any], found: Sequence[Detection], matched: Sequence[Sequence[Detection] | None]
) -> str | None:
    """The first thing wrong with an include clause: too few, then the colour, then the position."""
    label, count = clause["class"], clause["count"]
    if len(found) < count:
        return f"expected {label}>={count}, found {len(found)}"
    complaint = _wrong_color(clause, found) if "color" in clause else None
    if complaint is None and "position" in clause:
        relation, index = clause["position"]
        return _misplaced(label, relation, found, matched[index])
    return complaint


def _wrong_color(clause: Mapping[str, Any], found: Sequence[Detection]) -> str | None:
    label, count, color = clause["class"], clause["count"], clause["color"]
    seen = Counter(detection.color for detection in found if detection.color is not None)
    if seen.total() < len(found):
        raise ValueError(f"a {label} carries no colour: classify the colours of the boxes first")
    if seen[color] >= count:
        return None
    order = [name for name in (*PALETTE, *sorted(set(seen) - set(PALETTE))) if name in seen]
    listed = ", ".join(f"{seen[name]} {name}" for name in order)
    return f"expected {color} {label}>={count}, found {seen[color]} {color}; and {listed}"


def _misplaced(
    label: str, relation: str, found: Sequence[Detection], targets: Sequence[Detection] | None
) -> str | None:
    if targets is None:
        return f"no target for {label} to be {relation}"
    for detection in found:
        for target in targets:
            true = relations(detection.box, target.box)
            if relation not in true:
                return f"expected {label} {relation} target, found {' and '.join(true)} target"
    return None
