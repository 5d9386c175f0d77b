"""Run folders to what a page shows of them, with or without their images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from agsm_bench import plugins
from agsm_bench.benchmark import Benchmark
from agsm_bench.detections import DETECTIONS, read_detections
from agsm_bench.errors import MissingError, UserError
from agsm_bench.records import split_id
from agsm_bench.report.evidence import SCORES, Values, sample_values
from agsm_bench.report.files import readable
from agsm_bench.report.paired import describe_tokens, stamps
from agsm_bench.report.view.metrics import Metric, metrics_of, verdicts_of
from agsm_bench.store import Run
from agsm_bench.summary_file import SUMMARY, read_summary
from agsm_bench.types import Detection, Prompt

UNKNOWN_PROMPT = "(the prompt is not known here)"


@dataclass(frozen=True)
class Viewed:
    """One run of the page."""

    run: Run
    label: str
    """Short, and no other run's."""
    values: Values
    reasons: Mapping[str, Mapping[str, str]]
    """Sample id -> metric -> why it has this score, or none."""
    summary: Mapping[str, Any]
    """`summary.json`; empty for a run that is not finished."""

    @property
    def samples(self) -> set[str]:
        return {*self.run.records.images, *self.values}

    @property
    def stamps(self) -> list[str]:
        """What must be said loudly of the run."""
        manifest, found = self.run.manifest, self.summary
        if not found:
            said = stamps(manifest.limited, manifest.expected, len(self.values), 0)
            return [*said, "UNFINISHED: it has no summary yet."]
        said = stamps(manifest.limited, manifest.expected, found["scored"], found["unscored"])
        return [*said, *map(str, found.get("warnings", ())[:3])]

    @property
    def commands(self) -> list[str]:
        """Of the processes that worked on the run, each once."""
        noted = (process.get("command") for process in self.run.manifest.provenance)
        return list(dict.fromkeys(str(command) for command in noted if command))

    @cached_property
    def detections(self) -> Mapping[str, tuple[Detection, ...]]:
        """By sample id, of the images that are recorded."""
        images, path = self.run.records.images, self.run.folder / DETECTIONS
        found = [each for each in read_detections(path.parent) if images.get(each.sample_id) == each.image]
        with readable(path, f"Delete it, and score the run again: rm {path}"):
            return {each.sample_id: tuple(map(_checked, each.detections)) for each in found}


@dataclass(frozen=True)
class Shown:
    """All that a page shows."""

    runs: tuple[Viewed, ...]
    benchmark: Benchmark
    prompts: Mapping[str, Prompt]
    samples: tuple[str, ...]
    """Of any of the runs, sorted."""
    metrics: tuple[Metric, ...]
    """Of single images."""
    verdicts: tuple[str, ...]
    """Names of the metrics that say right or wrong."""

    @property
    def spec(self) -> Any:
        return self.runs[0].run.manifest.spec

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """In the benchmark's order."""
        return tuple(dict.fromkeys(self.prompt(sample).tag for sample in self.samples))

    @property
    def detected(self) -> bool:
        """Whether a detector has looked at any image."""
        return any(each.detections for each in self.runs)

    @cached_property
    def differing(self) -> list[str]:
        """Settings in which the runs differ."""
        specs = [asdict(each.run.manifest.spec) for each in self.runs]
        return [name for name in specs[0] if any(spec[name] != specs[0][name] for spec in specs)]

    def prompt(self, sample_id: str) -> Prompt:
        return self.prompts[split_id(sample_id)[0]]


def load(folders: Sequence[Path]) -> Shown:
    """Reads run folders.

    Raises:
        UserError: they are of different benchmarks, domains or prompts, or one is named twice.
        MissingError: a folder is no run, holds nothing, or is damaged.
    """
    for number, folder in enumerate(folders):
        if any(folder.resolve() == other.resolve() for other in folders[:number]):
            raise UserError(f"{folder} is named twice.", "Name each run once.")
    opened = [Run.open(folder) for folder in folders]
    _check_alike(opened)
    runs = [_viewed(run, label) for run, label in zip(opened, labels_of(opened), strict=True)]
    spec = opened[0].manifest.spec
    benchmark: Benchmark = plugins.load("benchmarks", spec.benchmark)
    samples = tuple(sorted(set().union(*(each.samples for each in runs))))
    prompts = _prompts(opened, samples, benchmark)
    values: dict[str, set[float]] = {}
    for row in (row for each in runs for row in each.values.values()):
        for name, value in row.items():
            values.setdefault(name, set()).update(() if value is None else (value,))
    metrics = tuple(metrics_of(values.keys(), benchmark.metrics(spec.domain)))
    return Shown(tuple(runs), benchmark, prompts, samples, metrics, tuple(verdicts_of(metrics, values)))


def labels_of(runs: Sequence[Run]) -> list[str]:
    """The shortest names that tell the runs apart; the folders' where nothing else does."""
    ways: list[Callable[[Run], str]] = [
        _trainers,
        lambda run: " ".join(filter(None, [str((run.manifest.spec.editing or {}).get("editor", "")), _trainers(run)])),
        lambda run: f"{run.manifest.spec.backbone}, {_trainers(run)}",
        lambda run: describe_tokens(run.manifest.tokens),
        lambda run: run.folder.resolve().name,
        lambda run: str(run.folder),
    ]
    found = [[way(run) for run in runs] for way in ways]
    return next((names for names in found if len({*names}) == len(names)), found[-1])


def _trainers(run: Run) -> str:
    made = (run.manifest.variant, run.manifest.tokens)
    return " + ".join(str(each["trainer"]) for each in made if each) or "no tokens"


def _check_alike(runs: Sequence[Run]) -> None:
    for name in ("benchmark", "domain"):
        first, *others = [getattr(run.manifest.spec, name) for run in runs]
        if different := [each for each in others if each != first]:
            raise UserError(
                f"The runs do not belong on one page: their {name} is {first!r} and {different[0]!r}.",
                "View them apart: agsm-bench view RUN.",
            )


def _viewed(run: Run, label: str) -> Viewed:
    """Raises MissingError where a file is damaged or there is nothing to show."""
    folder, summary = run.folder, _summary(run.folder)
    if (folder / SCORES).is_file():  # of a run that is kept without its images
        reasons: dict[str, dict[str, str]] = {}
        for each in summary.get("unscored_samples", ()):
            reasons.setdefault(each["sample_id"], {})[each["metric"]] = str(each["reason"])
        return Viewed(run, label, sample_values(folder), reasons, summary)
    scores = run.scores()
    with readable(folder / "scores.jsonl", _again(folder)):
        values = {key: {name: _number(score.value) for name, score in row.items()} for key, row in scores.items()}
    reasons = {key: {name: str(s.reason) for name, s in row.items() if s.reason} for key, row in scores.items()}
    found = Viewed(run, label, values, reasons, summary)
    if not found.samples:
        raise MissingError(f"{folder} is empty: it holds no images and no scores.", "Finish it with agsm-bench eval.")
    return found


def _summary(folder: Path) -> dict[str, Any]:
    """What the page uses of it, checked; empty where there is none."""
    if not (folder / SUMMARY).is_file():
        return {}
    with readable(folder / SUMMARY, _again(folder)):
        data = read_summary(folder)
        for metric in data["metrics"].values():
            _ = [_number(metric[key]) for key in ("value", "low", "high", "n", "clusters")]
        unscored = [{key: each[key] for key in ("sample_id", "metric", "reason")} for each in data["unscored_samples"]]
        counts = {key: int(data[key]) for key in ("scored", "unscored")}
        return counts | {
            "metrics": data["metrics"],
            "unscored_samples": unscored,
            "warnings": list(data.get("warnings", ())),
        }


def _again(folder: Path) -> str:
    return f"Score the run again: agsm-bench score {folder}"


def _checked(found: Detection) -> Detection:
    x0, y0, x1, y1 = map(float, found.box)
    return replace(found, box=(x0, y0, x1, y1), score=float(found.score))


def _number(value: Any) -> float | None:
    if value is not None and not isfinite(value):
        raise ValueError(f"a value of {value}")
    return None if value is None else float(value)


def _prompts(runs: Iterable[Run], samples: Iterable[str], benchmark: Benchmark) -> dict[str, Prompt]:
    """What the runs were asked; of those that say nothing of it, the benchmark's own."""
    wanted = dict.fromkeys(split_id(sample)[0] for sample in samples)
    found: dict[str, Prompt] = {}
    for run in runs:
        for prompt_id in wanted:
            prompt = _asked(run, prompt_id)
            if prompt and found.setdefault(prompt_id, prompt).text != prompt.text:
                raise UserError(
                    f"{run.folder} was asked another prompt {prompt_id} than the first run.",
                    "View them apart: agsm-bench view RUN.",
                )
    if len(found) < len(wanted):
        found = _known(run, benchmark) | found
    return {prompt_id: found.get(prompt_id, Prompt(prompt_id, UNKNOWN_PROMPT)) for prompt_id in wanted}


def _known(run: Run, benchmark: Benchmark) -> dict[str, Prompt]:
    """None where the benchmark's data are not on this machine: a page is to be had without them."""
    try:
        return {prompt.id: prompt for prompt in benchmark.prompts(run.manifest.spec.domain)}
    except MissingError:
        return {}


def _asked(run: Run, prompt_id: str) -> Prompt | None:
    path = run.metadata_path(f"{prompt_id}/0000")
    if not path.is_file():
        return None
    with readable(path, "Run the run's agsm-bench eval command again."):
        facts = json.loads(path.read_bytes())
        return Prompt(prompt_id, str(facts["prompt"]), str(facts.get("tag", "")), facts)
