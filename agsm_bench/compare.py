"""Two results -> a verdict: the regression gate.

**The rule.** A metric is *worse* where its loss is shown, not where it merely cannot be ruled out: the one-sided test
of "it is no worse than the baseline by more than the tolerance" is rejected. All tested metrics share one error:
Holm's correction keeps the chance that a run as good as its baseline fails at all at 2.5%, however many metrics there
are (the same holds for *better*, which needs no tolerance). Without a tolerance any loss counts, however small, once it
is beyond noise. The other reading, "fail unless a loss of the tolerance is ruled out" (non-inferiority), would fail
every comparison of too few prompts; what such a comparison cannot see is said instead: beside each verdict stands the
largest loss that is not ruled out (the interval's end), and how many prompts it takes to see a given one.

**Noise.** Differences are paired by image and averaged over the baseline's training seeds. Prompts are resampled with
all their images; where the baseline has several training seeds, what another one changes is added as Student's
distribution with the seeds' own variance (`agsm_bench.hypotheses`), so that a rerun with another seed is no regression.
Prompts contribute to the seeds' variance, too, and are counted twice: on the safe side. A bootstrap of very few
differing prompts is too sure of itself: no p-value is below that of all of them having the same sign by chance, 2^-k.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np

from agsm_bench.differences import of_distances, paired
from agsm_bench.distances import NotComparableError
from agsm_bench.errors import ExitCode, UserError
from agsm_bench.hypotheses import Effect, holm
from agsm_bench.measured import Direction, Measured, Quantity, directions, prompt_tags, quantities
from agsm_bench.report.paired import FEW_PROMPTS
from agsm_bench.report.runs import SHARES

Verdict = Literal["better", "worse", "within noise", "within tolerance", "not comparable"]
LEVEL = 0.025
"""Of all tests in one direction together."""
POINT = 0.01
"""The difference that a sample size is given for where there is no tolerance: a point, or a hundredth of the value."""
UNSCORED = 0.01
"""Share of the images that a run may leave unscored beyond what the baseline does."""
SETTINGS = ("seed", "images_per_prompt", "steps", "guidance_scale", "size", "editing")
"""Of the spec: what has to be equal, besides benchmark, domain and prompts."""
PROTOCOL = ("protocol", "saving", "t5")
"""Of a photo backbone's settings, alike."""


@dataclass(frozen=True)
class Finding:
    """What became of one metric."""

    name: str
    direction: Direction
    base: float | None
    """The mean of its seeds."""
    value: float | None
    tolerance: float
    verdict: Verdict = "not comparable"
    tested: bool = False
    """Whether it counts for the exit code."""
    effect: Effect | None = None
    """Run minus baseline; None where it is not comparable."""
    p_worse: float = 1.0
    """Against "no worse than the tolerance"; of tested metrics corrected by Holm, as the next two."""
    p_loss: float = 1.0
    """Against "no worse at all"."""
    p_better: float = 1.0
    visible: float = 0.0
    """The difference that `prompts_needed` is for."""
    prompts_needed: int | None = None
    """To see it at 80% power; None: training seeds alone differ by more."""
    reason: str = ""
    """Why it is not comparable."""

    @property
    def interval(self) -> tuple[float, float]:
        """Of the difference, 95%, uncorrected."""
        assert self.effect
        return self.effect.interval()


@dataclass(frozen=True)
class Comparison:
    """A run against its baseline."""

    run: Measured
    base: Measured
    findings: tuple[Finding, ...]
    """Whole metrics first."""
    notes: tuple[str, ...]

    @property
    def regressions(self) -> list[Finding]:
        return [each for each in self.findings if each.tested and each.verdict == "worse"]

    @property
    def untestable(self) -> list[Finding]:
        """Metrics that were to be tested and cannot be."""
        return [each for each in self.findings if each.tested and each.verdict == "not comparable"]

    @property
    def code(self) -> ExitCode:
        return ExitCode.REGRESSION if self.regressions or self.untestable else ExitCode.OK


def compare(
    run: Measured, base: Measured, metrics: Sequence[str] = (), tolerances: Mapping[str, float] | None = None
) -> Comparison:
    """Compares a run with a baseline, or with another run.

    Args:
        run: one run.
        base: what it is compared with.
        metrics: those that are tested; none: those that the baseline declares, else every whole metric that both have.
        tolerances: by metric, in the units of summary.json; they win over the baseline's.

    Raises:
        UserError: the two cannot be compared as a whole, or a metric is in neither of them.
    """
    check_comparable(run, base)
    tags = prompt_tags(run.spec, run.samples)
    known = {**quantities(base.columns, tags), **quantities(run.columns, tags)}
    stated = _names(run, base, known)
    better = directions(stated, run.spec)
    names = [name for name in stated if better[name] != "neither"]
    given = {**base.gate, **(tolerances or {})}
    check_names([*metrics, *given], names)
    declared = {*metrics, *(tolerances or {}), *(() if metrics else base.gate)}
    blank = [Finding(name, better[name], _value(name, base), _value(name, run), given.get(name, 0.0)) for name in names]
    found = [_filled(each, known.get(each.name), run, base, tags) for each in blank]
    tested = [each for each in found if (each.name in declared if declared else each.effect and _is_whole(each, known))]
    if not any(each.effect for each in tested):
        reasons = "; ".join(f"{each.name}: {each.reason}" for each in tested or found)
        raise UserError(f"No metric can be compared ({reasons}).", "Score both with this version: agsm-bench score.")
    details = [each for each in found if each not in tested]
    return Comparison(run, base, (*_corrected(tested), *map(_judged, details)), tuple(_notes(run, base, found)))


def check_comparable(run: Measured, base: Measured) -> None:
    """Raises UserError, with the reason, for results that no difference can be taken of."""
    ours, theirs = run.spec, base.spec
    for name in ("domain", "benchmark", *SETTINGS):
        _check_equal(name, getattr(ours, name), getattr(theirs, name))
    for name in PROTOCOL:
        _check_equal(name, (ours.model or {}).get(name), (theirs.model or {}).get(name))
    if run.limited != base.limited:
        limited = run if run.limited else base
        raise UserError(
            f"{limited.name} is a limited run, and the other one a whole one.", "Compare runs of the same --limit."
        )
    if run.samples != base.samples or run.prompts != base.prompts:
        raise UserError(f"{run.name} and {base.name} asked other prompts.", "Make both with the same version.")
    if run.unscored - base.unscored > UNSCORED * len(run.samples):
        raise UserError(
            f"{run.name} has {run.unscored} unscored images and the baseline {base.unscored}: what is not there may be "
            "what got worse.",
            "Its summary.json has the reasons; mend them, and score it again: agsm-bench score.",
        )


def check_names(given: Iterable[str], names: Collection[str]) -> None:
    """Raises UserError for a metric that is none of these."""
    for name in given:
        if name not in names:
            close = get_close_matches(name, names, 1)
            raise UserError(
                f"There is no metric {name} in these runs.",
                f"Did you mean {close[0]}?" if close else f"Use one of: {', '.join(names)}.",
            )


def _check_equal(name: str, ours: Any, theirs: Any) -> None:
    if ours != theirs:
        raise UserError(
            f"The runs cannot be compared: their {name} is {ours!r} and {theirs!r}.",
            f"Run agsm-bench eval with the same {name} for both.",
        )


def _names(run: Measured, base: Measured, known: Mapping[str, Quantity]) -> list[str]:
    """What a summary of either has; of what has no values of single units only whole metrics."""
    stated = dict.fromkeys(name for side in (run, base) for each in side.summaries for name in each)
    ordered = [name for name in known if name in stated]
    others = [name for name in stated if name not in known and not _is_detail(name)]
    return [*ordered, *others]


def _is_detail(name: str) -> bool:
    """A tag's part of a metric, by its name alone."""
    return "[" in name or name.startswith("geneval/") or name.endswith("_counting")


def _is_whole(finding: Finding, known: Mapping[str, Quantity]) -> bool:
    return finding.name not in known or known[finding.name].over != "tag"


def _value(name: str, side: Measured) -> float | None:
    """The mean of its seeds."""
    stated = [each[name] for each in side.summaries if name in each]
    return float(np.mean(stated)) if stated else None


def _filled(
    blank: Finding, quantity: Quantity | None, run: Measured, base: Measured, tags: Mapping[str, str]
) -> Finding:
    """With the difference and its p-values, not corrected; or with the reason why there is none."""
    try:
        found = paired(quantity, run, base, tags) if quantity else of_distances(blank.name, run, base)
    except NotComparableError as reason:
        return replace(blank, reason=str(reason))
    scale = 1.0 if blank.name.startswith(SHARES) else abs(blank.base or 1.0)
    visible = blank.tolerance or POINT * scale
    return replace(
        blank,
        effect=found.effect,
        p_worse=found.p_loss(blank.direction, blank.tolerance),
        p_loss=found.p_loss(blank.direction),
        p_better=found.p_gain(blank.direction),
        visible=visible,
        prompts_needed=found.prompts_needed(visible),
    )


def _corrected(tested: Sequence[Finding]) -> list[Finding]:
    """Verdicts by Holm over all of them that can be compared."""
    able = [each for each in tested if each.effect]
    worse, loss, better = (holm(list(p)) for p in zip(*((f.p_worse, f.p_loss, f.p_better) for f in able), strict=True))
    corrected = {
        each.name: replace(each, p_worse=worse[i], p_loss=loss[i], p_better=better[i]) for i, each in enumerate(able)
    }
    return [replace(_judged(corrected.get(each.name, each)), tested=True) for each in tested]


def _judged(finding: Finding) -> Finding:
    if finding.effect is None:
        return finding
    verdict: Verdict = "within noise"
    if finding.p_worse <= LEVEL:
        verdict = "worse"
    elif finding.p_better <= LEVEL:
        verdict = "better"
    elif finding.p_loss <= LEVEL:
        verdict = "within tolerance"
    return replace(finding, verdict=verdict)


def _notes(run: Measured, base: Measured, findings: Sequence[Finding]) -> Iterator[str]:
    """What a reader of the verdicts must know."""
    if run.limited:
        yield f"LIMITED RUNS of {len(run.samples)} images, the same in both: not results of the whole benchmark."
    ours, theirs = (asdict(side.spec) for side in (run, base))
    if differing := [name for name in ("backbone", "unconditional") if ours[name] != theirs[name]]:
        yield f"Besides the training they differ in: {', '.join(differing)}."
    if base.seeds > 1:
        yield f"The baseline has {base.seeds} training seeds; what another seed changes is in the intervals."
    elif base.trainings[0] and run.trainings[0] and base.trainings != run.trainings:
        yield (
            "The baseline has one training seed, so what another seed changes counts as a change: name several runs "
            "in agsm-bench baseline."
        )
    if most := max(run.unscored, base.unscored):
        yield f"Up to {most} images are unscored in one of them, and left out of both."
    if few := sum(each.effect is not None and each.effect.clusters < FEW_PROMPTS for each in findings):
        yield f"{few} metrics are of fewer than {FEW_PROMPTS} prompts: their intervals are too narrow."
