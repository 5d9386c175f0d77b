"""Two runs on one page: their numbers, the training curve and their pictures, as a single HTML file.

The page is static: it needs no script, no network and no other file, and its Content-Security-Policy
forbids all three.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

from PIL import Image

from agsm_bench.errors import MissingError, UserError
from agsm_bench.folders import read_json
from agsm_bench.geneval_prompts import TAGS
from agsm_bench.jsonl import write_atomically, writing
from agsm_bench.records import split_id
from agsm_bench.report.curves import Curve, training_curves
from agsm_bench.report.pages import environment
from agsm_bench.report.paired import CORRECT, LABELS, STRICT, Comparison, Side, compare, describe_tokens
from agsm_bench.report.summary import VERDICTS, difference, notes, percent, points
from agsm_bench.training.run import CONFIG_FILE

SHOWN = 6
"""Pairs of pictures a task."""
DISAGREEING = 4
"""Of them, at most so many where the runs disagree, if there are others to show."""
LARGEST = 128
"""Side in pixels up to which a picture is embedded as it is; a photograph is made smaller."""
THUMBNAIL = 256
OUTCOMES = ("won", "lost", "both right", "both wrong")
"""What became of a sample, seen from the other run."""


@dataclass(frozen=True)
class Picture:
    """One embedded image and its verdict."""

    source: str
    """A data URI."""
    pixelated: bool
    correct: bool
    text: str
    """Why it is wrong, or what GenEval lets pass."""


@dataclass(frozen=True)
class Pair:
    """The same prompt and noise in both runs."""

    sample_id: str
    prompt: str
    outcome: str
    base: Picture
    other: Picture


@dataclass(frozen=True)
class Task:
    """One tag's part of the gallery."""

    label: str
    counts: Mapping[str, int]
    """Samples of each outcome, all of them and not only those shown."""
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Training:
    """How the tokens were trained."""

    curves: tuple[Curve, ...]
    command: str | None


def write_page(base: Path, other: Path, out: Path, *, training_log: Path | None = None, title: str) -> Path:
    """Writes the page of two run folders and returns its path.

    Args:
        base: the run to compare with, usually without tokens.
        other: the run with tokens.
        out: the HTML file.
        training_log: `train.jsonl` of the other run's tokens.
        title: the page's heading.

    Raises:
        UserError: the runs cannot be compared, the log is of other tokens, or `out` cannot be written.
        MissingError: a run, an image or the log is absent or damaged.
    """
    found = compare(base, other)
    training = _training(training_log, found.other) if training_log else None
    page = _render(found, training, title)
    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, page.encode())
    return out


def _render(found: Comparison, training: Training | None, title: str) -> str:
    filters = (percent, points, difference, describe_tokens, data_uri, chart_x)
    named = {function.__name__: function for function in filters} | {"settings": asdict}
    tasks = [_task(found, tag) for tag in TAGS]
    return (
        environment(**named)
        .get_template("side_by_side.html")
        .render(
            title=title,
            found=found,
            spec=found.base.run.manifest.spec,
            sides=(found.base, found.other),
            same_noise=not {"backbone", "size"} & set(found.differing),
            means=[(block, line) for block in found.blocks for line in block.lines if line.label == LABELS["mean"]],
            words={key: word for key, (word, _) in VERDICTS.items()},
            notes=list(notes(found)),
            training=training,
            tasks=[task for task in tasks if task.pairs],
            totals={outcome: sum(task.counts[outcome] for task in tasks) for outcome in OUTCOMES},
        )
    )


def data_uri(data: bytes, kind: str) -> str:
    """The bytes as an address that needs no network."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def chart_x(value: float, shift: float = 0) -> str:
    """Where a share lies on the charts' axis, which runs from 173 to 398."""
    return f"{173 + 225 * value + shift:.1f}"


def _training(path: Path, side: Side) -> Training:
    """The log's curves, once its folder's configuration agrees with the tokens that the run used."""
    if not path.is_file():
        raise MissingError(f"There is no {path}.", "Name the train.jsonl that agsm-bench train wrote.")
    config, tokens = path.with_name(CONFIG_FILE), side.run.manifest.tokens or {}
    noted = read_json(config, "Name a folder that agsm-bench train wrote.") if config.is_file() else {}
    options = noted.get("training", {})
    differ = [key for key in options if key != "backbone" and tokens.get(key) != options[key]]
    if differ or not tokens:
        raise UserError(
            f"{path} is not of the tokens in {side.run.folder}{': ' * bool(differ)}{', '.join(differ)}.",
            "Name the train.jsonl of their training.",
        )
    return Training(tuple(training_curves(path)), noted.get("provenance", {}).get("command"))


def _task(found: Comparison, tag: str) -> Task:
    by_outcome: dict[str, list[str]] = {outcome: [] for outcome in OUTCOMES}
    for sample_id in found.samples:
        if found.prompt(sample_id).tag == tag:
            by_outcome[_outcome(found, sample_id)].append(sample_id)
    counts = {outcome: len(ids) for outcome, ids in by_outcome.items()}
    pairs = tuple(_pair(found, sample_id) for sample_id in choose(by_outcome))
    return Task(LABELS[tag], counts, pairs)


def choose(by_outcome: Mapping[str, list[str]]) -> list[str]:
    """Wins and losses in turn, then agreeing samples in turn; in order of id, one image a prompt first."""
    won, lost, right, wrong = (_new_prompts_first(by_outcome[outcome]) for outcome in OUTCOMES)
    disagreeing, agreeing = _in_turn(won, lost), _in_turn(right, wrong)
    room = max(DISAGREEING, SHOWN - len(agreeing))
    return (disagreeing[:room] + agreeing)[:SHOWN]


def _new_prompts_first(sample_ids: Iterable[str]) -> list[str]:
    seen: Counter[str] = Counter()
    ranked = []
    for sample_id in sample_ids:
        prompt = split_id(sample_id)[0]
        ranked.append((seen[prompt], sample_id))
        seen[prompt] += 1
    return [sample_id for _, sample_id in sorted(ranked)]


def _in_turn(first: list[str], second: list[str]) -> list[str]:
    return [item for pair in zip_longest(first, second) for item in pair if item is not None]


def _outcome(found: Comparison, sample_id: str) -> str:
    base, other = (bool(side.scores[sample_id][CORRECT].value) for side in (found.base, found.other))
    if base == other:
        return "both right" if base else "both wrong"
    return "won" if other else "lost"


def _pair(found: Comparison, sample_id: str) -> Pair:
    pictures = (_picture(side, sample_id) for side in (found.base, found.other))
    return Pair(sample_id, found.prompt(sample_id).text, _outcome(found, sample_id), *pictures)


def _picture(side: Side, sample_id: str) -> Picture:
    row, png = side.scores[sample_id], side.run.checked_image(sample_id)
    exact = row.get(STRICT)
    lenient = exact is not None and exact.value == 0
    reason = row[CORRECT].reason or ("but not exactly the scene" if lenient else "")
    source, pixelated = _embedded(png)
    return Picture(source, pixelated, bool(row[CORRECT].value), reason)


def _embedded(png: bytes) -> tuple[str, bool]:
    """A small picture as it is, to be enlarged pixel by pixel; a photograph as a thumbnail."""
    with Image.open(io.BytesIO(png)) as image:
        if max(image.size) <= LARGEST:
            return data_uri(png, "png"), True
        photo = image.convert("RGB")
    photo.thumbnail((THUMBNAIL, THUMBNAIL))
    small = io.BytesIO()
    photo.save(small, "JPEG", quality=80)
    return data_uri(small.getvalue(), "jpeg"), False
