"""The photo prompts against upstream's file, the shapes prompts against their own plan."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from agsm_bench.benchmarks.geneval import BENCHMARK
from agsm_bench.geneval_prompts import (
    COCO_CLASSES,
    TAG_COUNTS,
    TAGS,
    Entry,
    metadata_jsonl,
    photo_metadata,
    shapes_metadata,
)
from agsm_bench.shapes.vocabulary import COLORS, RELATIONS, SHAPES
from agsm_bench.types import DOMAINS, Domain

UPSTREAM = Path(__file__).resolve().parents[2] / "shared" / "data" / "geneval" / "evaluation_metadata.jsonl"
PHOTO_SHA256 = "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13"
SHAPES_SHA256 = "45c359bc6e68385c444eb72138af1a0fa7140382be229b39fd21acbf7f8dd148"

DISTINCT_SHAPES_PROMPTS = {
    "single_object": 4,
    "two_object": 12,
    "counting": 84,
    "colors": 24,
    "position": 48,
    "color_attr": 360,
}


def entries(domain: Domain) -> list[Entry]:
    return photo_metadata() if domain == "photo" else shapes_metadata()


@pytest.mark.parametrize(("domain", "sha256"), [("photo", PHOTO_SHA256), ("shapes", SHAPES_SHA256)])
def test_the_prompts_never_change(domain: Domain, sha256: str) -> None:
    """Photo: the hash of upstream's file. Shapes: pinned, as every shapes result depends on it."""
    assert hashlib.sha256(metadata_jsonl(entries(domain)).encode()).hexdigest() == sha256


@pytest.mark.skipif(not UPSTREAM.exists(), reason=f"no upstream file at {UPSTREAM}")
def test_the_photo_prompts_are_upstreams_byte_for_byte() -> None:
    assert metadata_jsonl(photo_metadata()).encode() == UPSTREAM.read_bytes()


@pytest.mark.parametrize("domain", DOMAINS)
def test_both_domains_have_the_same_tags_in_the_same_order(domain: Domain) -> None:
    expected = [tag for tag, count in TAG_COUNTS.items() for _ in range(count)]
    assert [entry["tag"] for entry in entries(domain)] == expected
    assert len(expected) == 553


def test_both_domains_have_the_same_keys_in_the_same_order() -> None:
    shapes_keys, photo_keys = (
        {entry["tag"]: (list(entry), list(entry["include"][-1])) for entry in entries(domain)} for domain in DOMAINS
    )
    assert shapes_keys.pop("counting")[0] == photo_keys.pop("counting")[0]  # its colour clause is shapes only
    assert shapes_keys == photo_keys


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_text_says_what_the_clauses_ask(domain: Domain) -> None:
    """Reads the clauses back into words, by a rule of its own."""
    numbers = {2: "two", 3: "three", 4: "four"}
    for entry in entries(domain):
        phrases = []
        for clause in entry["include"]:
            name = f"{clause.get('color', '')} {clause['class']}".strip()
            if clause["count"] > 1:
                phrases.append(f"{numbers[clause['count']]} {name}{'es' if name[-1] == 's' else 's'}")
            else:
                phrases.append(f"{'an' if name[0] in 'aeiou' else 'a'} {name}")
        joined = " and ".join(phrases)
        if entry["tag"] == "position":
            relation, index = entry["include"][1]["position"]
            joined = f"{phrases[1]} {relation} {phrases[index]}"
        assert entry["prompt"] == f"a photo of {joined}"


@pytest.mark.parametrize("domain", DOMAINS)
def test_only_counting_excludes_and_it_excludes_one_more(domain: Domain) -> None:
    for entry in entries(domain):
        assert ("exclude" in entry) == (entry["tag"] == "counting")
        if entry["tag"] == "counting":
            (clause,) = entry["include"]
            assert 2 <= clause["count"] <= 4
            assert entry["exclude"] == [{"class": clause["class"], "count": clause["count"] + 1}]


def test_photo_names_every_class_once_and_no_coloured_person() -> None:
    photo = photo_metadata()
    singles = [entry["include"][0]["class"] for entry in photo if entry["tag"] == "single_object"]
    assert sorted(singles) == sorted(COCO_CLASSES)
    assert len(set(COCO_CLASSES)) == 80
    assert not [c for entry in photo for c in entry["include"] if c["class"] == "person" and "color" in c]


def test_shapes_repeats_are_balanced_to_within_one() -> None:
    texts: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in shapes_metadata():
        texts[entry["tag"]][entry["prompt"]] += 1
    for tag in TAGS:
        asked, possible = TAG_COUNTS[tag], DISTINCT_SHAPES_PROMPTS[tag]
        assert len(texts[tag]) == min(asked, possible)
        assert set(texts[tag].values()) <= {asked // possible, -(-asked // possible)}


def test_shapes_rounds_are_shuffled_anew() -> None:
    singles = [entry["prompt"] for entry in shapes_metadata()[:80]]
    rounds = [tuple(singles[i : i + 4]) for i in range(0, 80, 4)]
    assert all(len(set(one)) == 4 for one in rounds)
    assert len(set(rounds)) > 5


def test_shapes_uses_the_whole_vocabulary_and_never_asks_for_one_class_twice() -> None:
    shapes = shapes_metadata()
    clauses = [clause for entry in shapes for clause in entry["include"]]
    assert {clause["class"] for clause in clauses} == set(SHAPES)
    assert {clause["color"] for clause in clauses if "color" in clause} == set(COLORS)
    assert {clause["position"][0] for clause in clauses if "position" in clause} == set(RELATIONS)
    for entry in shapes:
        assert len({clause["class"] for clause in entry["include"]}) == len(entry["include"])
        if entry["tag"] == "color_attr":
            assert len({clause["color"] for clause in entry["include"]}) == 2


@pytest.mark.parametrize("text", ["a photo of two crosses", "a photo of a purple cross", "a photo of a cross"])
def test_shapes_grammar(text: str) -> None:
    assert text in {entry["prompt"] for entry in shapes_metadata()}


def test_coloured_counting_asks_for_the_colour_but_excludes_any() -> None:
    counting = [entry for entry in shapes_metadata() if entry["tag"] == "counting"]
    coloured = [entry for entry in counting if "color" in entry["include"][0]]
    assert 0 < len(coloured) < len(counting)
    assert all("color" not in entry["exclude"][0] for entry in coloured)


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_benchmarks_prompts(domain: Domain) -> None:
    prompts = BENCHMARK.prompts(domain)
    assert [p.id for p in prompts] == [f"{i:05d}" for i in range(553)]
    assert [p.requirement for p in prompts] == entries(domain)
    assert [(p.text, p.tag) for p in prompts] == [(e["prompt"], e["tag"]) for e in entries(domain)]


def test_a_line_reads_back_as_its_entry() -> None:
    lines = metadata_jsonl(photo_metadata()).splitlines()
    assert [json.loads(line) for line in lines] == photo_metadata()


def test_prompts_and_verdicts_need_no_torch() -> None:
    code = "import sys; from agsm_bench.benchmarks import geneval; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
