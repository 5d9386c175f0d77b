"""One run by many processes: which samples are whose, and the union of what they made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agsm_bench.errors import MissingError, UserError
from agsm_bench.identity import canonical_json
from agsm_bench.jsonl import write_atomically
from agsm_bench.manifest import Manifest
from agsm_bench.records import Verdict
from agsm_bench.seeds import seed_of
from agsm_bench.store import Run, write_metadata


def in_shard(sample_id: str, index: int, count: int) -> bool:
    """Whether a sample belongs to shard `index` (from 0) of `count`; of the samples each is in one."""
    if not 0 <= index < count:
        raise UserError(f"There is no shard {index}/{count}.", "Use --shard i/n with i from 0 to n - 1.")
    return seed_of("shard", sample_id) % count == index


def merge(runs: Sequence[Path], into: Path) -> Run:
    """The union of shards, open for writing; the caller summarises and finalises it.

    The stores are the same in whatever order the shards come, and those of one process for the whole run.

    Args:
        runs: folders of the same run.
        into: a new folder, or that of an earlier merge of the same run.

    Raises:
        UserError: not the same run, or two folders hold different images or scores of one sample.
        MissingError: a folder is no run, or something in it is absent or damaged.
    """
    if not runs:
        raise UserError("There is nothing to merge.", "Name the run folders of the shards.")
    shards = sorted(map(Run.open, runs), key=lambda run: run.manifest.dump())
    merged = Run.acquire(into, _common(shards))
    try:
        with merged.changing():
            for shard in shards:
                for sample_id in shard.records.images:
                    _adopt_image(merged, shard, sample_id)
            for shard in shards:
                for verdict in shard.records.verdicts():
                    _adopt_verdict(merged, shard, verdict)
            merged.records.rewrite()
    except BaseException:
        merged.close()
        raise
    return merged


def _common(shards: Sequence[Run]) -> Manifest:
    first = shards[0]
    for other in shards[1:]:
        if differences := first.manifest.differences(other.manifest):
            raise UserError(
                f"{first.folder} and {other.folder} are different runs: {'; '.join(differences)}.",
                "Merge the shards of one run.",
            )
    entries = {canonical_json(entry): entry for shard in shards for entry in shard.manifest.provenance}
    by_time = sorted(entries.values(), key=lambda entry: (str(entry.get("started")), canonical_json(entry)))
    return replace(first.manifest, shard=None, provenance=tuple(by_time))


def _adopt_image(merged: Run, shard: Run, sample_id: str) -> None:
    digest = shard.records.images[sample_id]
    if merged.records.images.get(sample_id, digest) != digest:
        raise _conflict(shard, f"another image of {sample_id}")
    merged.records.images[sample_id] = digest
    if merged.read_image(sample_id) is not None:
        return
    source, target = shard.metadata_path(sample_id), merged.metadata_path(sample_id)
    if not source.is_file():
        raise MissingError(f"{source} is absent.", f"Run the eval of {shard.folder} again.")
    png = shard.checked_image(sample_id)
    path = merged.image_path(sample_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_metadata(target, source.read_bytes())
    write_atomically(path, png, sync=False)


def _adopt_verdict(merged: Run, shard: Run, verdict: Verdict) -> None:
    score = verdict.score
    if verdict.image != merged.records.images.get(score.sample_id):
        return  # this shard had a reason for having no image, and another one has it
    known = merged.records.scores_of(score.sample_id).get(score.metric, score)
    if known.version != score.version:
        return  # one of the two is judged again when the union is scored
    if known != score:
        raise _conflict(shard, f"another {score.metric} of {score.sample_id}")
    merged.records.keep(verdict)


def _conflict(shard: Run, what: str) -> UserError:
    return UserError(
        f"{shard.folder} holds {what} than the folders merged before it.",
        "Make and score each sample in one folder only, and merge into a new --out.",
    )
