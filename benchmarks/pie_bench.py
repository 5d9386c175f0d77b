"""PIE-Bench: 700 pictures to edit, with their prompts and masks (Ju et al. 2023); needs an editor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from agsm_bench.benchmark import Given, Plain, Scored
from agsm_bench.columns import distinct, means
from agsm_bench.types import Detection, Domain, Interval, Prompt, Score

if TYPE_CHECKING:
    from agsm_bench.shapes.edits import Edit

SUCCESS = "pie_bench/success"
KEPT = "pie_bench/kept"
REACH = 2.0
"""Pixels that the centre of an object may have moved and still be where it was."""
PAIRED = ("psnr/unedited", "ssim/unedited", "mse/unedited")
"""Of the background, on both domains: pixels need no network."""


class PieBench(Plain):
    """The benchmark on both domains.

    The detector of the shapes world reads the edited picture: `success` where it shows exactly what the target's
    caption says, `kept` where besides every object that the edit does not touch is where it was. What stands for CLIP
    and LPIPS there is `shapes_clip`.
    """

    name = "pie_bench"
    edits = True

    def prompts(self, domain: Domain) -> list[Prompt]:
        """The target prompts; the tag is the kind of edit. Photo: see `agsm_bench.pie`."""
        if domain == "photo":
            from agsm_bench.pie import read_pie_bench

            return list(read_pie_bench().prompts)
        from agsm_bench.shapes.edits import edits

        return [
            Prompt(
                f"{i:05d}",
                edit.target_text,
                edit.kind,
                {"tag": edit.kind, "prompt": edit.target_text, "source": edit.source_text},
            )
            for i, edit in enumerate(edits())
        ]

    def problems(self, domain: Domain) -> list[str]:
        """Of the mapping file."""
        if domain == "shapes":
            return []
        from agsm_bench.pie import read_pie_bench

        return list(read_pie_bench().problems)

    def given(self, domain: Domain, prompt: Prompt, size: int) -> Given | None:
        """The picture to edit, what it shows, and the mask."""
        if domain == "photo":
            from agsm_bench.pie import given

            return given(prompt, size)
        from agsm_bench.shapes.pictures import mask_png, scene_png

        edit = _edit(prompt)
        read, mask = partial(scene_png, edit.source), partial(mask_png, edit.mask)
        return Given(read, f"shapes edit {prompt.id}", edit.source_text, mask)

    def metrics(self, domain: Domain) -> tuple[str, ...]:
        return (SUCCESS, KEPT) if domain == "shapes" else ()

    def image_metrics(self, domain: Domain) -> tuple[str, ...]:
        """All columns of the paper's Tables 2 and 10, LPIPS of the whole and of the background."""
        if domain == "shapes":
            return (*PAIRED, "shapes_clip/lpips", "shapes_clip/lpips-unedited")
        scores = ("image_reward/v1.0", "pickscore/v1", "clip/openai-l14", "clip/openai-l14-edited", "hpsv2/v2.1")
        return (*scores, *PAIRED, "lpips/squeeze", "lpips/squeeze-unedited", "structure/dino-b8")

    def score_sample(self, prompt: Prompt, sample_id: str, detections: Sequence[Detection]) -> list[Score]:
        """Whether the edit was made, and nothing else."""
        from agsm_bench.shapes.reading import has, scene_of, shows

        scene = scene_of(detections)
        success = shows(prompt.text, scene)
        kept = success and all(has(scene, each, REACH) for each in _edit(prompt).kept)
        return [Score(sample_id, SUCCESS, float(success)), Score(sample_id, KEPT, float(kept))]

    def summarise(self, scores: Iterable[Scored]) -> dict[str, Interval]:
        """The mean of every metric of images (PIE-Bench's nan-means), over all edits and by kind."""
        scored = distinct(scores)
        metrics = sorted({metric for _, _, values in scored for metric in values})
        return means(scored, metrics, list(dict.fromkeys(prompt.tag for prompt, _, _ in scored)))


def _edit(prompt: Prompt) -> Edit:
    from agsm_bench.shapes.edits import edits

    return edits()[int(prompt.id)]


BENCHMARK = PieBench()
