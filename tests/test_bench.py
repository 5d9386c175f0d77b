"""What was measured, and the page of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from measured import Measured, peak_memory, ratio, seconds_in_turns
from page import page

ROOT = Path(__file__).parents[1]


def test_the_page_shows_what_is_kept() -> None:
    kept = json.loads((ROOT / "results" / "bench.json").read_text(encoding="utf-8"))
    assert (ROOT / "results" / "BENCH.md").read_text(encoding="utf-8") == page(kept)


def test_every_target_that_was_missed_is_said_to_be() -> None:
    kept = json.loads((ROOT / "results" / "bench.json").read_text(encoding="utf-8"))
    lines = [Measured(**line) for script in kept.values() for line in script["measured"]]
    missed = [line for line in lines if line.met is False]
    assert (ROOT / "results" / "BENCH.md").read_text(encoding="utf-8").count("**not met**") == len(missed)


@pytest.mark.parametrize(("value", "lower", "met"), [(1.04, True, True), (1.06, True, False), (1.06, False, True)])
def test_a_target_is_met_on_its_side(value: float, lower: bool, met: bool) -> None:
    assert Measured("group", "name", value, "ratio", 1.05, lower).met is met
    assert Measured("group", "name", value, "ratio").met is None


def test_ways_take_turns_after_a_round_that_does_not_count() -> None:
    calls: list[str] = []
    seconds = seconds_in_turns({"one": lambda: calls.append("one"), "two": lambda: calls.append("two")}, rounds=3)
    assert calls == ["one", "two"] * 4
    assert [len(found) for found in seconds.values()] == [3, 3]


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    assert ratio({"one": [1.0, 2.0, 30.0], "two": [1.0, 1.0, 1.0]}, "one", "two") == 2.0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_seen_though_it_is_over_when_asked() -> None:
    assert 60e6 < peak_memory(lambda: bytearray(64_000_000)) < 90e6
