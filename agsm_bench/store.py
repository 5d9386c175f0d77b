"""A run folder: what `agsm-bench eval` writes, resumes and finalises.

    manifest.json                        the settings and who worked on it, written first
    images/PROMPT/metadata.jsonl         GenEval's folder layout (evaluation/evaluate_images.py reads it)
    images/PROMPT/samples/INDEX.png
    samples.jsonl                        one line a finished image: its sample id and the PNG's SHA-256
    scores.jsonl                         one line a score, with the hash of the image that it judges and the
                                         version of what judged it
    summary.json                         written last, sealed with its hash (`agsm_bench.summary_file`); absent as
                                         soon as anything changes

Finalised, `images/`, `samples.jsonl`, `scores.jsonl` and `summary.json` are equal byte for byte, whatever
order, resume or shards (`agsm_bench.shards`) made them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from agsm_bench.errors import MissingError, UserError
from agsm_bench.folders import check_there
from agsm_bench.identity import identity
from agsm_bench.jsonl import write_atomically, writing
from agsm_bench.locking import alone
from agsm_bench.manifest import MANIFEST, Manifest, load_manifest
from agsm_bench.records import Records, split_id
from agsm_bench.summary_file import SUMMARY, SUMMARY_SCHEMA, write_summary
from agsm_bench.types import Prompt, RunSpec, Sample, Score

if TYPE_CHECKING:
    from agsm_bench.stats import Interval

LOCK = ".lock"


@dataclass(eq=False)
class Run:
    """A run folder. Opened for writing it is locked: `with` it, or `close` it."""

    folder: Path
    manifest: Manifest
    _held: ExitStack | None = field(default=None, repr=False)

    @classmethod
    def create_or_resume(
        cls,
        folder: Path,
        spec: RunSpec,
        expected: int,
        limited: bool,
        provenance: Mapping[str, Any],
        *,
        shard: tuple[int, int] | None = None,
        tokens: Mapping[str, Any] | None = None,
        variant: Mapping[str, Any] | None = None,
    ) -> Self:
        """Opens a run for writing, alone; call it before anything expensive.

        Args:
            folder: a new or empty folder, or that of the same run.
            spec: the settings.
            expected: samples of the whole run, also where this process does one shard.
            limited: whether that is less than the benchmark.
            provenance: `provenance.provenance()`.
            shard: (index, count).
            tokens: how the soft tokens were trained: `trainer`, `seed` and other options.
            variant: how the backbone's weights were fine-tuned, alike; their hash is part of `spec.weights`.

        Raises:
            UserError: the folder holds another run, is in use, or cannot be written.
            MissingError: what it holds is damaged.
        """
        return cls.acquire(folder, Manifest(spec, expected, limited, shard, tokens, variant, (provenance,)))

    @classmethod
    def reopen(cls, folder: Path, provenance: Mapping[str, Any]) -> Self:
        """Opens an existing run for writing, e.g. to score it again. Raises as `create_or_resume`."""
        return cls.acquire(folder, replace(load_manifest(folder), provenance=(provenance,)))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Opens an existing run for reading; raises MissingError."""
        return cls(folder, load_manifest(folder))

    @classmethod
    def acquire(cls, folder: Path, asked: Manifest) -> Self:
        """`create_or_resume` with the manifest at hand."""
        with writing(folder):
            _prepare(folder)
            with ExitStack() as held:
                held.enter_context(alone(folder / LOCK, folder))
                resuming = (folder / MANIFEST).exists()
                manifest = load_manifest(folder).resumed(asked, folder) if resuming else asked
                write_atomically(folder / MANIFEST, manifest.dump())
                run = cls(folder, manifest)
                run.records.repair()
                run._held = held.pop_all()
        return run

    def close(self) -> None:
        """Lets another process write."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def records(self) -> Records:
        """The finished images and their scores."""
        return Records(self.folder)

    def missing(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The samples, in order, whose image is not recorded, absent or altered."""
        return (sample for sample in samples if self.read_image(sample.id) is None)

    def images(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, bytes]]:
        """The samples, in order, that have an image, each with the PNG's checked bytes.

        Raises:
            MissingError: an image is absent or altered.
        """
        for sample in samples:
            if sample.id in self.records.images:
                yield sample, self.checked_image(sample.id)

    def unscored(self, samples: Iterable[Sample], metrics: Iterable[str], version: str = "1") -> Iterator[Sample]:
        """The samples, in order, that have an image and lack a line of this version for one of the metrics."""
        wanted = set(metrics)
        for sample in samples:
            if sample.id in self.records.images:
                scores = self.records.scores_of(sample.id).values()
                if not wanted <= {score.metric for score in scores if score.version == version}:
                    yield sample

    def scores(self) -> dict[str, dict[str, Score]]:
        """Sample id -> metric -> the last score of the image that is there, sorted."""
        return self.records.scores()

    def add_image(self, sample: Sample, png: bytes) -> None:
        """Stores an image and then records it, so that a kill leaves no record without an image."""
        with self.changing():
            path = self.image_path(sample.id)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_metadata(self.metadata_path(sample.id), _metadata(sample.prompt))
            # not synced: a PNG lost in a power cut does not match its hash and is made again
            write_atomically(path, png, sync=False)
            self.records.add_image(sample.id, sha256(png).hexdigest())

    def add_scores(self, scores: Sequence[Score]) -> None:
        """Stores scores of recorded images, or the reasons for having none; they replace earlier ones."""
        with self.changing():
            self.records.add_scores(scores)

    def finalise(
        self,
        metrics: Mapping[str, Interval],
        warnings: Sequence[str] = (),
        counted: Collection[str] | None = None,
        required: Collection[str] = (),
    ) -> dict[str, Any]:
        """Sorts the stores, writes the summary with the benchmark's means, and returns it.

        `counted`: the metrics without which a sample is unscored; None: all that it has. Those `required` every
        sample has to have, the others where any sample has them.
        """
        summary = _summary(self.manifest, self.scores(), metrics, counted, required)
        summary |= {"warnings": [*warnings]} if warnings else {}
        with self.changing():
            self.records.rewrite()
            return write_summary(self.folder, summary)

    def image_path(self, sample_id: str) -> Path:
        """Where a sample's image lies."""
        prompt, index = split_id(sample_id)
        return self.folder / "images" / prompt / "samples" / f"{index}.png"

    def metadata_path(self, sample_id: str) -> Path:
        """Where the line on its prompt lies."""
        return self.folder / "images" / split_id(sample_id)[0] / "metadata.jsonl"

    def read_image(self, sample_id: str) -> bytes | None:
        """The PNG as it was recorded; None if it was not, or is absent or altered."""
        path, recorded = self.image_path(sample_id), self.records.images.get(sample_id)
        if recorded is None or not path.is_file():
            return None
        png = path.read_bytes()
        return png if sha256(png).hexdigest() == recorded else None

    def checked_image(self, sample_id: str) -> bytes:
        """As `read_image`, with a MissingError in place of None."""
        png = self.read_image(sample_id)
        if png is None:
            raise MissingError(
                f"The image {self.image_path(sample_id)} is absent or altered.",
                f"Make it again with the `command` in {self.folder / MANIFEST}.",
            )
        return png

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Around every change: a summary never outlives what it sums up."""
        if self._held is None:
            raise RuntimeError(f"{self.folder} is not open for writing")
        with writing(self.folder):
            check_there(self.folder / MANIFEST)
            (self.folder / SUMMARY).unlink(missing_ok=True)
            yield


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    foreign = [path.name for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if foreign and MANIFEST not in foreign:
        raise UserError(f"{folder} is no run folder: it holds {foreign[0]} and no {MANIFEST}.", "Use another --out.")


def write_metadata(path: Path, line: bytes) -> None:
    """A prompt's line, once for all of its images."""
    if not path.is_file() or path.read_bytes() != line:
        write_atomically(path, line)


def _metadata(prompt: Prompt) -> bytes:
    """Upstream's metadata line; prompts of benchmarks that ask nothing more have their text there."""
    line = json.dumps(dict(prompt.requirement) or {"tag": prompt.tag, "prompt": prompt.text}) + "\n"
    return line.encode()


def _summary(
    manifest: Manifest,
    scores: Mapping[str, Mapping[str, Score]],
    metrics: Mapping[str, Interval],
    counted: Collection[str] | None,
    required: Collection[str],
) -> dict[str, Any]:
    names = {name for row in scores.values() for name in row if counted is None or name in counted}
    names |= set(required)
    nones = [score for row in scores.values() for score in row.values() if score.value is None]
    unscored = {score.sample_id for score in nones if score.metric in names}
    scored = [key for key, row in scores.items() if key not in unscored and row.keys() >= names]
    tokens = manifest.tokens and {**manifest.tokens, "hash": manifest.spec.tokens}
    return {
        "schema": SUMMARY_SCHEMA,
        "run": asdict(manifest.spec)
        | {"identity": identity(manifest.spec), "tokens": tokens, "variant": manifest.variant},
        "complete": len(scored) + len(unscored) == manifest.expected,
        "limited": manifest.limited,
        "expected": manifest.expected,
        "scored": len(scored),
        "unscored": len(unscored),
        "unscored_samples": [{"sample_id": s.sample_id, "metric": s.metric, "reason": s.reason} for s in nones],
        "metrics": {name: interval_record(interval) for name, interval in metrics.items()},
    }


def interval_record(interval: Interval) -> dict[str, Any]:
    """JSON has no nan, and a mean without its interval is no result: all three are null then."""
    known = all(map(isfinite, (interval.value, interval.low, interval.high)))
    return asdict(interval) | ({} if known else dict.fromkeys(("value", "low", "high")))
