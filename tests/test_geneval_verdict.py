"""GenEval's verdicts against a slow reading of the protocol, and the strict reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from agsm_bench.geneval_prompts import Entry
from agsm_bench.geneval_rules import Box, Verdict, count_errors, relations, strict, verdict
from agsm_bench.types import Detection

LABELS = ("cat", "dog", "hot dog")
HUES = ("red", "cyan", "white", "unclear")
SCORES = (0.1, 0.3, 0.31, 0.5, 0.5, 0.9, 0.91, 1.0)
LISTED = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "cyan",
    "unclear",
)


def seen(label: str, score: float = 1.0, color: str | None = None, box: Box = (0, 0, 8, 8)) -> Detection:
    return Detection(label, box, score, color)


def asks(*include: Entry, tag: str = "two_object", exclude: Sequence[Entry] = ()) -> Entry:
    return {"tag": tag, "include": list(include), "exclude": list(exclude), "prompt": "a photo"}


def clause(label: str, count: int = 1, **more: Any) -> Entry:
    return {"class": label, "count": count, **more}


# The slow reading: one detection, one clause, one pair at a time, in exact arithmetic.


def slow_kept(detections: Sequence[Detection], label: str, tag: str) -> list[Detection]:
    left = [d for d in detections if d.label == label and d.score > (0.9 if tag == "counting" else 0.3)]
    ranked: list[Detection] = []
    while left and len(ranked) < 16:
        best = 0
        for i in range(len(left)):
            if left[i].score >= left[best].score:  # of equal scores the later one
                best = i
        ranked.append(left.pop(best))
    return ranked


def slow_relations(a: Box, b: Box) -> list[str]:
    """Squares instead of roots: u < -1/2 is r < 0 and 4 r^2 > |d|^2."""
    centre = [Fraction(a[k] + a[k + 2] - b[k] - b[k + 2]) / 2 for k in (0, 1)]
    size = [Fraction(abs(a[k + 2] - a[k]) + abs(b[k + 2] - b[k])) for k in (0, 1)]
    rest = [max(abs(centre[k]) - size[k] / 10, Fraction(0)) for k in (0, 1)]
    if max(rest) < Fraction(1, 1000):
        return []
    far = [4 * r * r > centre[0] ** 2 + centre[1] ** 2 for r in rest]
    names = (("left of", "right of"), ("above", "below"))
    return [names[k][centre[k] > 0] for k in (0, 1) if far[k]]


def slow_clause(objects: Sequence[Detection], ask: Entry, earlier: Sequence[Sequence[Detection] | None]) -> str:
    label, count = ask["class"], ask["count"]
    if len(objects) < count:
        return f"expected {label}>={count}, found {len(objects)}"
    if "color" in ask:
        right = len([d for d in objects if d.color == ask["color"]])
        if right < count:
            tally = [f"{sum(d.color == hue for d in objects)} {hue}" for hue in LISTED]
            listed = ", ".join(line for line in tally if not line.startswith("0 "))
            return f"expected {ask['color']} {label}>={count}, found {right} {ask['color']}; and {listed}"
    if "position" in ask:
        wanted, target = ask["position"]
        group = earlier[target]
        if group is None:
            return f"no target for {label} to be {wanted}"
        for d in objects:
            for other in group:
                real = slow_relations(d.box, other.box)
                if wanted not in real:
                    return f"expected {label} {wanted} target, found {' and '.join(real)} target"
    return ""


def slow_verdict(detections: Sequence[Detection], metadata: Mapping[str, Any]) -> Verdict:
    reasons: list[str] = []
    earlier: list[list[Detection] | None] = []
    for ask in metadata["include"]:
        objects = slow_kept(detections, ask["class"], metadata["tag"])[: ask["count"]]
        reason = slow_clause(objects, ask, earlier)
        earlier.append(None if reason else objects)
        reasons += [reason] if reason else []
    for ask in metadata["exclude"]:
        number = len(slow_kept(detections, ask["class"], metadata["tag"]))
        if number >= ask["count"]:
            reasons.append(f"expected {ask['class']}<{ask['count']}, found {number}")
    return Verdict(reasons == [], "\n".join(reasons))


def random_box(rng: np.random.Generator) -> Box:
    """Small whole numbers, so that centres coincide and relations tie often."""
    x, y, width, height = (int(n) for n in rng.integers((0, 0, 1, 1), (12, 12, 7, 7)))
    return (x, y, x + width, y + height)


def random_detections(rng: np.random.Generator) -> list[Detection]:
    count = rng.choice((0, 1, 2, 3, 5, 8, 40), p=(0.05, 0.1, 0.2, 0.25, 0.2, 0.15, 0.05))
    return [
        seen(str(rng.choice(LABELS)), float(rng.choice(SCORES)), str(rng.choice(HUES)), random_box(rng))
        for _ in range(count)
    ]


def random_metadata(rng: np.random.Generator) -> Entry:
    include: list[Entry] = []
    for index in range(rng.integers(0, 4)):
        ask = clause(str(rng.choice(LABELS)), int(rng.choice((1, 1, 1, 2, 3))))
        if rng.random() < 0.4:
            ask["color"] = str(rng.choice(HUES))
        if index and rng.random() < 0.6:
            ask["position"] = [
                str(rng.choice(("left of", "right of", "above", "below"))),
                int(rng.integers(index)),
            ]
        include.append(ask)
    exclude = [clause(str(rng.choice(LABELS)), int(rng.integers(1, 18)))] if rng.random() < 0.4 else []
    return asks(*include, tag=str(rng.choice(("counting", "position"), p=(0.2, 0.8))), exclude=exclude)


def test_thousands_of_random_images_against_the_slow_reading() -> None:
    rng = np.random.default_rng(0)
    reasons: list[str] = []
    correct = 0
    for _ in range(4000):
        detections, metadata = random_detections(rng), random_metadata(rng)
        judged = verdict(detections, metadata)
        assert judged == slow_verdict(detections, metadata), (detections, metadata)
        reasons += judged.reason.splitlines()
        correct += judged.correct
    assert 400 < correct < 2000
    for words in (">=", "<", "; and ", "no target for", " target, found "):
        assert sum(words in reason for reason in reasons) > 100  # every way to fail was met


def test_thousands_of_random_pairs_of_boxes() -> None:
    rng = np.random.default_rng(1)
    boxes = [(random_box(rng), random_box(rng)) for _ in range(5000)]
    found = [relations(a, b) for a, b in boxes]
    assert found == [tuple(slow_relations(a, b)) for a, b in boxes]
    assert {len(names) for names in found} == {0, 1, 2}
    assert len({name for names in found for name in names}) == 4


def test_relations_of_plain_cases() -> None:
    here: Box = (10, 10, 14, 14)
    assert relations((0, 10, 4, 14), here) == ("left of",)
    assert relations((20, 10, 24, 14), here) == ("right of",)
    assert relations((10, 0, 14, 4), here) == ("above",)
    assert relations((10, 20, 14, 24), here) == ("below",)
    assert relations((0, 0, 4, 4), here) == ("left of", "above")
    assert relations(here, here) == ()
    assert relations((10.7, 10, 14.7, 14), here) == ()  # inside the slack of 0.1 x (4 + 4)
    assert relations((6, 10, 18, 14), (10, 10, 14, 14)) == ()  # same centre


def test_half_the_offset_exactly_is_no_relation() -> None:
    """d = (2, 0) and sizes that sum to 10: r = 1 and u is exactly 1/2."""
    assert relations((2, 0, 7, 4), (0, 0, 5, 4)) == ()
    assert relations((3, 0, 8, 4), (0, 0, 5, 4)) == ("right of",)


@pytest.mark.parametrize(("tag", "threshold"), [("single_object", 0.3), ("position", 0.3), ("counting", 0.9)])
def test_a_score_must_exceed_the_threshold(tag: str, threshold: float) -> None:
    metadata = asks(clause("cat"), tag=tag)
    for least in (threshold, float(np.float32(threshold))):
        assert not verdict([seen("cat", least)], metadata).correct
    assert verdict([seen("cat", threshold + 1e-6)], metadata).correct


def test_more_than_asked_is_fine_outside_counting() -> None:
    assert verdict([seen("cat")] * 3 + [seen("dog")] * 2, asks(clause("cat"))).correct


def test_an_excluded_count_is_wrong() -> None:
    metadata = asks(clause("cat", 2), tag="counting", exclude=[clause("cat", 3)])
    assert verdict([seen("cat")] * 2, metadata) == Verdict(True, "")
    assert verdict([seen("cat")] * 3, metadata) == Verdict(False, "expected cat<3, found 3")
    assert verdict([seen("cat")], metadata) == Verdict(False, "expected cat>=2, found 1")


def test_at_most_sixteen_of_a_class_are_seen() -> None:
    crowd = [seen("cat")] * 40
    assert verdict(crowd, asks(exclude=[clause("cat", 3)])).reason == "expected cat<3, found 16"
    assert verdict(crowd, asks(exclude=[clause("cat", 17)])).correct


def test_only_the_best_boxes_are_asked_for_their_colour() -> None:
    metadata = asks(clause("cat", color="red"))
    assert verdict([seen("cat", 0.8, "red"), seen("cat", 0.7, "blue")], metadata).correct
    judged = verdict([seen("cat", 0.7, "red"), seen("cat", 0.8, "blue")], metadata)
    assert judged.reason == "expected red cat>=1, found 0 red; and 1 blue"


def test_of_equal_scores_the_later_detection_is_the_better() -> None:
    metadata = asks(clause("cat", color="red"))
    assert verdict([seen("cat", 0.8, "blue"), seen("cat", 0.8, "red")], metadata).correct
    assert not verdict([seen("cat", 0.8, "red"), seen("cat", 0.8, "blue")], metadata).correct


def test_a_box_that_nobody_classified_is_not_a_wrong_colour() -> None:
    with pytest.raises(ValueError, match="classify the colours"):
        verdict([seen("cat", color=None)], asks(clause("cat", color="red")))
    spare = [seen("cat", 0.8, "red"), seen("cat", 0.7, None), seen("dog", 0.9, None)]
    assert verdict(spare, asks(clause("cat", color="red"))).correct


def test_a_failed_target_fails_the_position_and_says_both() -> None:
    metadata = asks(clause("dog", color="red"), clause("cat", position=["above", 0]), tag="position")
    judged = verdict([seen("cat", box=(0, 0, 4, 4)), seen("dog", color="white", box=(0, 9, 4, 13))], metadata)
    assert judged.reason == "expected red dog>=1, found 0 red; and 1 white\nno target for cat to be above"
    assert verdict([], metadata).reason == "expected dog>=1, found 0\nexpected cat>=1, found 0"


def test_a_wrong_position_names_the_true_one() -> None:
    metadata = asks(clause("dog"), clause("cat", position=["above", 0]), tag="position")
    cat, dog = seen("cat", box=(0, 9, 4, 13)), seen("dog", box=(0, 0, 4, 4))
    assert verdict([cat, dog], metadata).reason == "expected cat above target, found below target"
    on_top = seen("cat", box=dog.box)
    assert verdict([on_top, dog], metadata).reason == "expected cat above target, found  target"


def test_strict_wants_the_scene_and_nothing_else() -> None:
    metadata = asks(clause("cat", color="red"), clause("dog"))
    scene = [seen("cat", color="red"), seen("dog", color="blue")]
    assert strict(scene, metadata)
    assert strict([*scene, seen("hot dog", 0.3)], metadata)  # too unsure to count
    assert not strict([*scene, seen("hot dog")], metadata)
    assert not strict([*scene, seen("dog", 0.5)], metadata)
    assert not strict([seen("cat", color="white"), seen("dog", color="blue")], metadata)
    assert not strict(scene[:1], metadata)
    assert not strict([seen("dog"), seen("hot dog")], metadata)


def test_strict_is_never_laxer_than_genevals_verdict() -> None:
    rng = np.random.default_rng(2)
    exact = 0
    for _ in range(2000):
        detections, metadata = random_detections(rng), random_metadata(rng)
        if strict(detections, metadata):
            exact += 1
            assert verdict(detections, metadata).correct
            if len({ask["class"] for ask in metadata["include"]}) == len(metadata["include"]):
                assert count_errors(detections, metadata) == (False, False)
    assert exact > 20


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("cat dog", (False, False)),
        ("cat cat", (False, False)),  # the number is right, though the scene is not
        ("cat dog dog", (True, False)),
        ("dog", (False, True)),
        ("", (False, True)),
    ],
)
def test_count_errors_look_at_the_total_alone(labels: str, expected: tuple[bool, bool]) -> None:
    assert count_errors([seen(label) for label in labels.split()], asks(clause("cat"), clause("dog"))) == expected


def test_count_errors_use_the_thresholds() -> None:
    unsure = [seen("cat", 0.9), seen("cat", 0.95)]
    assert count_errors(unsure, asks(clause("cat", 2))) == (False, False)
    assert count_errors(unsure, asks(clause("cat", 2), tag="counting")) == (False, True)
