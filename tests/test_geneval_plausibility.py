"""Warnings about results that look like a detector with the wrong weights."""

from __future__ import annotations

import math

from agsm_bench.geneval_plausibility import DETECTIONS, FEWEST_IMAGES, SINGLE_OBJECT, warnings

ENOUGH = {"single_object": FEWEST_IMAGES}


def test_good_and_weak_models_are_plausible() -> None:
    assert warnings({"single_object": 0.98, "counting": 0.0}, ENOUGH, [1, 2, 1, 0]) == []
    assert warnings({"single_object": 0.73}, ENOUGH, [1, 0]) == []
    assert warnings({"single_object": SINGLE_OBJECT}, ENOUGH, [1, 0, 0, 0, 0]) == []


def test_nothing_right_and_nothing_found_are_said_apart() -> None:
    wrong, none = warnings({"single_object": 0.0}, ENOUGH, [0] * 40)
    assert "0.0% of the images of a single object" in wrong
    assert "0.00 objects per image" in none
    assert warnings({"single_object": 0.02}, ENOUGH, [3] * 40) == [wrong.replace("0.0%", "2.0%")]
    assert len(warnings({"single_object": 0.9}, ENOUGH, [0] * 40)) == 1
    assert warnings({"single_object": 0.9}, ENOUGH, [1] * 20 + [0] * round(20 / DETECTIONS - 20)) == []


def test_too_little_to_tell() -> None:
    few = {"single_object": FEWEST_IMAGES - 1, "colors": 400}
    assert warnings({"single_object": 0.0}, few, [0] * 400) == []
    assert warnings({}, {"colors": 400}, [0] * 400) == []
    assert warnings({"single_object": math.nan}, ENOUGH, []) == []
