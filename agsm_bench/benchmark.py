"""What a file in `benchmarks/` says of a benchmark. No torch: `list`, `prompts` and reports read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agsm_bench.types import Detection, Domain, Interval, Prompt, Score

Scored = tuple[Prompt, str, Mapping[str, float | None]]
"""A prompt, a sample id and the sample's values by metric; None, or no entry, is unscored."""
Read = Callable[[], bytes]
"""The bytes of a file; raises OSError where it is absent, ValueError with the reason where it is of no use."""


@dataclass(frozen=True)
class Given:
    """What comes with a prompt: the picture to edit, or the one that a generated image is compared with."""

    picture: Read
    """PNG or JPEG, square, of the size asked for."""
    key: str
    """Changes with the picture."""
    source: str | None = None
    """Of an edit: what the picture shows."""
    mask: Read | None = None
    """Of an edit: bright where the picture is to change, of the same size."""


class Benchmark(Protocol):
    """BENCHMARK of a file in `benchmarks/`; `Plain` has what most leave open."""

    name: str
    images_per_prompt: int
    edits: bool
    """Whether pictures that are `given` are edited, by one of the editors; else images are generated."""

    def prompts(self, domain: Domain) -> list[Prompt]:
        """All prompts, in the benchmark's order; raises MissingError where its data are not there."""
        ...

    def problems(self, domain: Domain) -> list[str]:
        """What is wrong with the benchmark's data on this machine, one thing each; the rest goes on."""
        ...

    def given(self, domain: Domain, prompt: Prompt, size: int) -> Given | None:
        """What comes with a prompt, at a side of `size` pixels."""
        ...

    def metrics(self, domain: Domain) -> tuple[str, ...]:
        """The metrics that `score_sample` gives for every image; none: no detector is asked."""
        ...

    def image_metrics(self, domain: Domain) -> tuple[str, ...]:
        """The metrics of images, by full name, that every run has besides."""
        ...

    def run_metrics(self, domain: Domain) -> tuple[str, ...]:
        """The files of `agsm_bench/metrics/` that measure every run as a whole."""
        ...

    def score_sample(self, prompt: Prompt, sample_id: str, detections: Sequence[Detection]) -> list[Score]:
        """Every metric of one image."""
        ...

    def uncolored(self, prompt: Prompt, detections: Sequence[Detection]) -> list[int]:
        """Which detections `score_sample` needs a colour of."""
        ...

    def summarise(self, scores: Iterable[Scored]) -> dict[str, Interval]:
        """Means with intervals, by metric."""
        ...

    def doubts(self, domain: Domain, summary: Mapping[str, Interval], lines: Sequence[Mapping[str, Any]]) -> list[str]:
        """What of a summary and of the results file's lines looks as if something had gone wrong."""
        ...

    def result_line(self, prompt: Prompt, filename: str, detections: Sequence[Detection]) -> dict[str, Any] | None:
        """One line of the benchmark's own results file; None where it has none."""
        ...


class Plain:
    """A benchmark without detector, metrics, or anything given."""

    images_per_prompt: int = 1
    edits: bool = False

    def problems(self, domain: Domain) -> list[str]:
        return []

    def given(self, domain: Domain, prompt: Prompt, size: int) -> Given | None:
        return None

    def metrics(self, domain: Domain) -> tuple[str, ...]:
        return ()

    def image_metrics(self, domain: Domain) -> tuple[str, ...]:
        return ()

    def run_metrics(self, domain: Domain) -> tuple[str, ...]:
        return ()

    def score_sample(self, prompt: Prompt, sample_id: str, detections: Sequence[Detection]) -> list[Score]:
        return []

    def uncolored(self, prompt: Prompt, detections: Sequence[Detection]) -> list[int]:
        return []

    def summarise(self, scores: Iterable[Scored]) -> dict[str, Interval]:
        return {}

    def doubts(self, domain: Domain, summary: Mapping[str, Interval], lines: Sequence[Mapping[str, Any]]) -> list[str]:
        return []

    def result_line(self, prompt: Prompt, filename: str, detections: Sequence[Detection]) -> dict[str, Any] | None:
        return None
