"""The judge on a run folder: which images it is asked about, by which model, and what it said."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from agsm_bench.contracts import Progress
from agsm_bench.errors import MissingError, UserError
from agsm_bench.folders import read_json, write_json
from agsm_bench.store import Run
from agsm_bench.types import Domain, Sample
from agsm_bench.unigenbench.judge import JudgeItem, endpoint_of, judge_images
from agsm_bench.unigenbench.judgements import Judgement, JudgementStore
from agsm_bench.unigenbench.options import JudgeOptions
from agsm_bench.unigenbench.prompts import points_of

FILE = "judge.json"
"""Which model's verdicts the summary has: the one asked last."""


def check_judge(benchmark: str, domain: Domain, options: JudgeOptions, *, images_alone: bool = False) -> None:
    """Raises UserError where a judge is given that cannot be asked, before anything expensive starts."""
    if not options.judge_url:
        return
    if images_alone:
        raise UserError("Images alone are made, and no judge is asked.", "Leave out --judge-url, or --metrics none.")
    if (benchmark, domain) != ("unigenbench", "photo"):
        raise UserError(
            f"The judge answers test points of unigenbench on photographs, not of {benchmark} on {domain}.",
            "Leave out --judge-url.",
        )
    endpoint_of(options)


def judge_run(run: Run, samples: Sequence[Sample], options: JudgeOptions, progress: Progress) -> None:
    """Asks the judge about every image that lacks verdicts.

    Raises:
        UserError: another benchmark's run, or no test points; else as `judge_images`.
        MissingError: as `judge_images`.
    """
    check_judge(run.manifest.spec.benchmark, run.manifest.spec.domain, options)
    model = endpoint_of(options).model
    with run.changing():
        write_json(run.folder / FILE, {"model": model})
    with JudgementStore.open(run.folder) as store:
        judge_images(_items(run, samples), store, options, progress)


def judged_model(folder: Path) -> str | None:
    """The model that was asked last; None where none was. Raises MissingError where its record is damaged."""
    path = folder / FILE
    if not path.exists():
        return None
    fix = f"Delete it, and ask again: rm {path}"
    model = read_json(path, fix).get("model")
    if not isinstance(model, str):
        raise MissingError(f"{path} is damaged: it names no model.", fix)
    return model


def judgements_of(run: Run, samples: Sequence[Sample]) -> dict[str, Judgement]:
    """What that model said of the run's present images, by sample id."""
    model = judged_model(run.folder)
    if model is None:
        return {}
    return JudgementStore(run.folder).verdicts([item.asked(model) for item in _items(run, samples) if item.testpoints])


def _items(run: Run, samples: Sequence[Sample]) -> list[JudgeItem]:
    images = run.records.images
    return [
        JudgeItem(
            sample.id,
            partial(run.checked_image, sample.id),
            images[sample.id],
            sample.prompt.text,
            points_of(sample.prompt),
        )
        for sample in samples
        if sample.id in images
    ]
