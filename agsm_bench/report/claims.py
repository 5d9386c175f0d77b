"""The paper's claims put to the test: `results/tables/claims.toml` against the runs that are there.

An effect is the paired difference of two settings over prompts and training seeds (`agsm_bench.hypotheses`). Each
claim is tested on each of its backbones, in both directions: that it holds, and that it does not. Holm's correction
covers all of them together in either direction. A claim of several parts holds when all parts do, and does not when
one of them does not.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agsm_bench import plugins
from agsm_bench.hypotheses import Effect, effect, holm
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
        return Claims(data["margin"], data["level"], data["seeds"], tuple(claims))


def judge(claims: Claims, runs: Sequence[Run]) -> list[Judged]:
    """Tests every claim on the runs that are there.

    Raises:
        MissingError: the scores of a run are absent or damaged.
    """
    found = [tuple(_finding(part, claims, runs) for part in claim.parts) for claim in claims.claims]
    reasons = [_reason(findings, claims.seeds) for findings in found]
    tested = [i for i, reason in enumerate(reasons) if not reason]
    holds = dict(zip(tested, holm([max(f.p_holds for f in found[i]) for i in tested]), strict=True))
    fails = dict(zip(tested, holm([_any(f.p_fails for f in found[i]) for i in tested]), strict=True))
    return [
        Judged(
            *(claim, found[i], _verdict(claim, found[i], holds.get(i, 1.0), fails.get(i, 1.0), claims.level)),
            *(holds.get(i, 1.0), fails.get(i, 1.0), reasons[i]),
        )
        for i, claim in enumerate(claims.claims)
    ]


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Of a claim on several backbones: the verdict on which all agree."""
    return verdicts[0] if len(set(verdicts)) == 1 else "undecided"


def to_json(claims: Claims, judged: Sequence[Judged]) -> dict[str, Any]:
    """Everything, as plain data."""
    keys = dict.fromkeys(j.claim.key for j in judged)
    return {
        "schema": 1,
        "margin": claims.margin,
        "level": claims.level,
        "correction": f"Holm, over {sum(not j.reason for j in judged)} tests in either direction",
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
    counts = {"seeds": found.seeds, "images": found.seeds * found.n, "prompts": found.clusters}
    return own | counts | {"runs": {side: list(names) for side, names in finding.runs.items()}}


def _claim(entry: Mapping[str, Any], backbone: str) -> Claim:
    return Claim(entry["key"], entry["text"], backbone, tuple(_part(spec, backbone) for spec in entry["parts"]))


def _part(spec: Mapping[str, Any], backbone: str) -> Part:
    if spec["want"] not in ("more", "less", "not less"):
        raise ValueError(f"want = {spec['want']!r}")
    a, b = (recipe_of(spec[side] | {"backbone": backbone}, spec.get("benchmark", "geneval")) for side in "ab")
    return Part(spec["text"], spec["want"], spec["metric"], spec["over"], a, b)


def _finding(part: Part, claims: Claims, runs: Sequence[Run]) -> Finding:
    sides = {"a": chosen(part.a, runs), "b": chosen(part.b, runs)}
    pairs = _pairs(part, sides["a"], sides["b"])
    used = {"a": tuple(p[0].folder.name for p in pairs), "b": tuple(p[1].folder.name for p in pairs)}
    if not pairs:
        lacking = next(recipe for side, recipe in (("a", part.a), ("b", part.b)) if not sides[side])
        return Finding(part, None, 1.0, 1.0, used, commands(lacking))
    found = _effect(part, pairs)
    return Finding(part, found, *_p_values(part.want, found, claims.margin), used, "")


def _pairs(part: Part, a: Sequence[Run], b: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Runs of equal seeds; a side without training has one run, the partner of all."""
    if part.a.trainings and part.b.trainings:
        by_seed = {run.seeds: run for run in b}
        return [(run, by_seed[run.seeds]) for run in a if run.seeds in by_seed]
    return [(x, y) for x in a for y in b if x.seeds[1] == y.seeds[1]]


def _effect(part: Part, pairs: Sequence[tuple[Run, Run]]) -> Effect:
    columns = [tuple(_column(run.folder, part.metric) for run in pair) for pair in pairs]
    tags = {p.id: p.tag for p in plugins.load("benchmarks", part.a.benchmark).prompts(pairs[0][0].domain)}
    common = sorted(set.intersection(*(set(column) for pair in columns for column in pair)))
    ids = [i for i in common if part.over in ("tasks", "images", tags[split_id(i)[0]])]
    differences = [[first[i] - second[i] for i in ids] for first, second in columns]
    groups = [tags[split_id(i)[0]] if part.over == "tasks" else "" for i in ids]
    return effect(differences, [split_id(i)[0] for i in ids], groups)


def _column(folder: Path, metric: str) -> dict[str, float]:
    values = {key: row.get(metric) for key, row in sample_values(folder).items()}
    return {key: value for key, value in values.items() if value is not None}


def _p_values(want: Want, found: Effect, margin: float) -> tuple[float, float]:
    """That the part holds, and that it does not."""
    tests: dict[Want, tuple[Callable[[float], float], float, Callable[[float], float], float]] = {
        "more": (found.p_above, 0.0, found.p_below, margin),
        "less": (found.p_below, 0.0, found.p_above, -margin),
        "not less": (found.p_above, -margin, found.p_below, 0.0),
    }
    holds, at, fails, below = tests[want]
    return holds(at), fails(below)


def _reason(findings: Sequence[Finding], seeds: int) -> str:
    if missing := [f.missing for f in findings if f.missing]:
        return f"runs are missing: {missing[0]}"
    fewest = min(f.effect.seeds for f in findings if f.effect)
    return f"{fewest} of {seeds} training seeds" if fewest < seeds else ""


def _any(p_values: Any) -> float:
    """Bonferroni: that at least one of several is true."""
    given = list(p_values)
    return min(1.0, len(given) * min(given))


def _verdict(claim: Claim, findings: Sequence[Finding], p_holds: float, p_fails: float, level: float) -> Verdict:
    """Where both are shown (an effect between zero and the margin), its sign decides."""
    holds, fails = p_holds <= level / 2, p_fails <= level / 2
    if holds and fails:
        return "does not hold" if any(f.part.want == "not less" for f in findings) else "holds"
    return "holds" if holds else "does not hold" if fails else "undecided"
