"""The paper's claims put to the test: `results/tables/claims.toml` against the runs that are there.

An effect is the paired difference of two settings over prompts and training seeds (`agsm_bench.hypotheses`); the
variance between seeds is that of all effects of a backbone with trainings of the same lengths. Each claim is tested on
each of its backbones, in both directions: that it holds, and that it does not (the file says what these mean). Holm's
correction covers all claims and backbones in either direction, tested yet or not. A claim of several parts holds when
all parts do, and does not when one of them does not.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agsm_bench import plugins
from agsm_bench.damage import conforming
from agsm_bench.errors import MissingError
from agsm_bench.geneval_prompts import TAGS
from agsm_bench.hypotheses import Effect, Spread, effect, holm, pooled
from agsm_bench.records import split_id
from agsm_bench.report.commands import commands
from agsm_bench.report.evidence import sample_values
from agsm_bench.report.files import checked, readable, results_dir
from agsm_bench.report.fills import recipe_of
from agsm_bench.report.recipes import Recipe
from agsm_bench.report.runs import Run
from agsm_bench.report.tables import chosen

Want = Literal["more", "less", "not less"]
Verdict = Literal["holds", "does not hold", "undecided"]
Overall = Literal["holds", "does not hold", "undecided", "differs"]


@dataclass(frozen=True)
class Part:
    """One effect: setting `a` minus setting `b`."""

    text: str
    want: Want
    metric: str
    over: str
    """`tasks`: the mean of the tasks' means; a task; `images`: all alike."""
    a: Recipe
    b: Recipe


@dataclass(frozen=True)
class Claim:
    """What the paper says, on one backbone."""

    key: str
    text: str
    backbone: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Claims:
    """The claims, each on each of its backbones, and how they are judged."""

    margin: float
    """Smallest effect that counts."""
    level: float
    """Family-wise error, both directions together."""
    seeds: int
    """Fewest training seeds of a verdict."""
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Finding:
    """What the runs say of a part."""

    part: Part
    effect: Effect | None
    """None where runs are missing."""
    p_holds: float
    """Against "the part does not hold", before the correction."""
    p_fails: float
    """Against "the part holds", before the correction."""
    runs: Mapping[str, tuple[str, ...]]
    """Names of the runs of `a` and `b`, in the order of their seeds."""
    missing: str
    """Which command makes what is missing; empty where nothing is."""


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict."""

    claim: Claim
    findings: tuple[Finding, ...]
    verdict: Verdict
    p_holds: float
    """Corrected by Holm, over all claims and backbones that were tested."""
    p_fails: float
    reason: str
    """Why it is undecided without a test; empty where it was tested."""


def load_claims() -> Claims:
    """The claims that ship.

    Raises:
        MissingError: the file is damaged.
    """
    path = results_dir() / "tables" / "claims.toml"
    with readable(path):
        data = checked(tomllib.loads(path.read_text(encoding="utf-8")))
        claims = [_claim(entry, backbone) for entry in data["claims"] for backbone in entry["backbones"]]
        seeds = data["seeds"]
        return conforming(Claims(float(data["margin"]), float(data["level"]), seeds, tuple(claims)))


def judge(claims: Claims, runs: Sequence[Run]) -> list[Judged]:
    """Tests every claim on the runs that are there.

    Raises:
        MissingError: the scores of a run are absent or damaged.
    """
    # all runs of an evaluation share its noise, seed 0; another seed of the noise is no other training
    usable = [run for run in runs if run.seeds[1] == 0]
    spreads = _spreads(claims, usable)
    found = [tuple(_finding(part, claims, usable, spreads) for part in claim.parts) for claim in claims.claims]
    reasons = [_reason(findings, claims.seeds) for findings in found]
    untested = [bool(reason) for reason in reasons]
    holds = holm([1.0 if skip else max(f.p_holds for f in own) for skip, own in zip(untested, found, strict=True)])
    fails = holm([1.0 if skip else _any([f.p_fails for f in own]) for skip, own in zip(untested, found, strict=True)])
    return [
        Judged(
            claim=claim,
            findings=found[i],
            verdict=_verdict(holds[i], fails[i], claims.level),
            p_holds=holds[i],
            p_fails=fails[i],
            reason=reasons[i],
        )
        for i, claim in enumerate(claims.claims)
    ]


def overall(verdicts: Sequence[Verdict]) -> Overall:
    """Of a claim on several backbones: the verdict on which all agree; `differs` where two contradict each other."""
    if {"holds", "does not hold"} <= set(verdicts):
        return "differs"
    return verdicts[0] if len(set(verdicts)) == 1 else "undecided"


def to_json(claims: Claims, judged: Sequence[Judged]) -> dict[str, Any]:
    """Everything, as plain data."""
    keys = dict.fromkeys(j.claim.key for j in judged)
    return {
        "schema": 1,
        "margin": claims.margin,
        "level": claims.level,
        "correction": f"Holm, over {len(judged)} tests in either direction",
        "claims": [_claim_json([j for j in judged if j.claim.key == key]) for key in keys],
    }


def _claim_json(judged: Sequence[Judged]) -> dict[str, Any]:
    first = judged[0].claim
    verdict = overall([j.verdict for j in judged])
    return {"key": first.key, "text": first.text, "verdict": verdict, "backbones": [_judged_json(j) for j in judged]}


def _judged_json(judged: Judged) -> dict[str, Any]:
    own: dict[str, Any] = {"backbone": judged.claim.backbone, "verdict": judged.verdict, "reason": judged.reason}
    if not judged.reason:
        own |= {"p_holds": round(judged.p_holds, 4), "p_does_not_hold": round(judged.p_fails, 4)}
    return own | {"parts": [_finding_json(f) for f in judged.findings]}


def _finding_json(finding: Finding) -> dict[str, Any]:
    part, found = finding.part, finding.effect
    own: dict[str, Any] = {"text": part.text, "want": part.want, "metric": part.metric, "over": part.over}
    if found is None:
        return own | {"missing": finding.missing}
    low, high = found.interval()
    numbers = {"effect": found.value, "low": low, "high": high}
    own |= {name: round(value, 5) for name, value in numbers.items()}
    own["seed_sd"] = round(math.sqrt(found.spread.variance), 5)
    counts = {"seeds": found.seeds, "images": found.seeds * found.n, "prompts": found.clusters}
    return own | counts | {"runs": {side: list(names) for side, names in finding.runs.items()}}


def _claim(entry: Mapping[str, Any], backbone: str) -> Claim:
    parts = tuple(_part(spec, backbone) for spec in entry["parts"])
    if not parts:
        raise ValueError(f"{entry['key']} has no parts")
    return Claim(entry["key"], entry["text"], backbone, parts)


def _part(spec: Mapping[str, Any], backbone: str) -> Part:
    if spec["want"] not in ("more", "less", "not less"):
        raise ValueError(f"want = {spec['want']!r}")
    if spec["over"] not in ("tasks", "images", *TAGS):
        raise ValueError(f"over = {spec['over']!r}")
    a, b = (recipe_of(spec[side] | {"backbone": backbone}, spec.get("benchmark", "geneval")) for side in "ab")
    if spec["metric"] not in plugins.load("benchmarks", a.benchmark).metrics("shapes"):
        raise ValueError(f"metric = {spec['metric']!r}")
    return Part(spec["text"], spec["want"], spec["metric"], spec["over"], a, b)


Pairs = Sequence[tuple[Run, Run]]
Kind = tuple[str, frozenset[object]]
"""A backbone, and the lengths of trainings that are not the default: effects of a kind share their spread."""


def _spreads(claims: Claims, runs: Sequence[Run]) -> dict[Kind, Spread]:
    found: dict[Kind, list[Spread]] = {}
    for part in (part for claim in claims.claims for part in claim.parts):
        if pairs := _pairs(part, chosen(part.a, runs), chosen(part.b, runs)):
            found.setdefault(_kind(part), []).append(_effect(part, pairs, None, resamples=1).spread)
    return {kind: pooled(spreads) for kind, spreads in found.items()}


def _kind(part: Part) -> Kind:
    lengths = (dict(recipe.training).get("steps") for recipe in (part.a, part.b))
    return part.a.backbone, frozenset(length for length in lengths if length)


def _finding(part: Part, claims: Claims, runs: Sequence[Run], spreads: Mapping[Kind, Spread]) -> Finding:
    a, b = chosen(part.a, runs), chosen(part.b, runs)
    pairs = _pairs(part, a, b)
    used = {"a": tuple(p[0].folder.name for p in pairs), "b": tuple(p[1].folder.name for p in pairs)}
    if not pairs:
        return Finding(part, None, 1.0, 1.0, used, commands(part.b if a else part.a))
    found = _effect(part, pairs, spreads[_kind(part)])
    return Finding(part, found, *_p_values(part.want, found, claims.margin), used, "")


def _pairs(part: Part, a: Sequence[Run], b: Sequence[Run]) -> Pairs:
    """Runs of equal training seeds and preference pairs; a side without training has one run, the partner of all."""
    if not (part.a.trainings and part.b.trainings):
        return [(x, y) for x in a for y in b]
    return [(x, y) for x in a for y in b if x.seeds == y.seeds and x.pairs == y.pairs]


def _effect(part: Part, pairs: Pairs, spread: Spread | None, resamples: int = 10_000) -> Effect:
    columns = [tuple(_column(run.folder, part.metric) for run in pair) for pair in pairs]
    tags = {p.id: p.tag for p in plugins.load("benchmarks", part.a.benchmark).prompts(pairs[0][0].domain)}
    common = sorted(set.intersection(*(set(column) for pair in columns for column in pair)))
    ids = [i for i in common if part.over in ("tasks", "images", tags.get(split_id(i)[0]))]
    if not ids or any(split_id(i)[0] not in tags for i in ids):
        folders = ", ".join(str(run.folder) for run in pairs[0])
        raise MissingError(f"{folders} have no {part.metric} of the same prompts.", "Make them again: agsm-bench eval.")
    differences = [[first[i] - second[i] for i in ids] for first, second in columns]
    groups = [tags[split_id(i)[0]] if part.over == "tasks" else "" for i in ids]
    return effect(differences, [split_id(i)[0] for i in ids], groups, spread=spread, resamples=resamples)


def _column(folder: Path, metric: str) -> dict[str, float]:
    values = {key: row.get(metric) for key, row in sample_values(folder).items()}
    return {key: value for key, value in values.items() if value is not None}


def _p_values(want: Want, found: Effect, margin: float) -> tuple[float, float]:
    """That the part holds, and that it does not."""
    if want == "more":
        return found.p_above(0.0), found.p_below(margin)
    if want == "less":
        return found.p_below(0.0), found.p_above(-margin)
    return found.p_above(-margin), found.p_below(0.0)


def _reason(findings: Sequence[Finding], seeds: int) -> str:
    if missing := [f.missing for f in findings if f.missing]:
        return f"runs are missing: {missing[0]}"
    fewest = min(f.effect.seeds for f in findings if f.effect)
    return f"{fewest} of {seeds} training seeds" if fewest < seeds else ""


def _any(p_values: Sequence[float]) -> float:
    """Bonferroni: that at least one of several is true."""
    return min(1.0, len(p_values) * min(p_values))


def _verdict(p_holds: float, p_fails: float, level: float) -> Verdict:
    """An effect of the right sign holds also where it is shown to be small."""
    if p_holds <= level / 2:
        return "holds"
    return "does not hold" if p_fails <= level / 2 else "undecided"
