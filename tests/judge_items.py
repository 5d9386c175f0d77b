"""Images for the judge's tests, and what it says of them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from judge_server import answers
from PIL import Image

from agsm_bench.unigenbench.judge import JudgeItem, judge_images
from agsm_bench.unigenbench.judgements import FILE, JudgementStore
from agsm_bench.unigenbench.kinds import Point
from agsm_bench.unigenbench.options import JudgeOptions

POINTS = (Point("Style", "an ink painting"), Point("Attribute - Color", "a red fox"), Point("Action - State", "asleep"))
MODEL = "judge"


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 40, 90)).save(stream, "PNG")
    return stream.getvalue()


def item(number: int) -> JudgeItem:
    png = picture(number)
    sample = f"{number // 2:05d}/{number % 2:04d}"
    return JudgeItem(sample, lambda: png, sha256(png).hexdigest(), f"Prompt {number // 2}.", POINTS)


def items(count: int) -> list[JudgeItem]:
    return [item(number) for number in range(count)]


def options(url: str, **others: Any) -> JudgeOptions:
    return JudgeOptions(**{"judge_url": url, "judge_model": MODEL, "judge_backoff": 0.001} | others)


def judged(folder: Path, url: str, images: Sequence[JudgeItem], **others: Any) -> list[dict[str, Any]]:
    """The lines of the file after a call."""
    with JudgementStore.open(folder) as store:
        judge_images(images, store, options(url, **others))
    return lines(folder)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


def is_honest(line: dict[str, Any], number: int) -> bool:
    """Whether a line is what the judge thinks of the image."""
    yes = [verdict["yes"] for verdict in line["verdicts"]]
    return line["failed"] is None and yes == answers(picture(number), len(POINTS))
