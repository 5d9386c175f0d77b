"""Whether GenEval's results look like a detector with the wrong weights, which finds nothing and scores about 0.

Upstream's evaluator says nothing then. The weakest model of its table (minDALL-E) has 73% of the single objects, and
every model at least one object in most of its images; the limits are far below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FEWEST_IMAGES = 20
"""Of a single object: below that no warning."""
SINGLE_OBJECT = 0.1
"""Accuracy of single objects from which nothing looks wrong."""
DETECTIONS = 0.2
"""Mean number of detections that count, per image, from which nothing looks wrong."""
ADVICE = "Look at some images, and at the detector's weights (agsm-bench metrics get mask2former)."


def warnings(accuracy: Mapping[str, float], images: Mapping[str, int], kept: Sequence[int]) -> list[str]:
    """What looks wrong, in sentences; empty where nothing does, or where there is too little to tell.

    Args:
        accuracy: by tag, in [0, 1]; nan where nothing was scored.
        images: scored, by tag.
        kept: detections above GenEval's threshold, of each image.
    """
    if images.get("single_object", 0) < FEWEST_IMAGES:
        return []
    found = []
    single = accuracy.get("single_object", 1.0)
    if single < SINGLE_OBJECT:
        found.append(f"Only {single:.1%} of the images of a single object are correct. {ADVICE}")
    if kept and (mean := sum(kept) / len(kept)) < DETECTIONS:
        found.append(f"Only {mean:.2f} objects per image are detected above the threshold. {ADVICE}")
    return found
