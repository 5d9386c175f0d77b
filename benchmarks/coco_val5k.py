"""COCO-val5K: an image for each of 5,000 captions, by preference metrics and distance from the captioned pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from agsm_bench.benchmark import Given, Plain, Scored
from agsm_bench.columns import distinct, means
from agsm_bench.types import Detection, Domain, Interval, Prompt, Score

if TYPE_CHECKING:
    from agsm_bench.data.coco import CocoImage
    from agsm_bench.shapes.scene import Scene

SCENE = "coco_val5k/scene"
COUNT = 5_000
"""Captions, on both domains."""
NUMBERS = ("one", "two", "three", "four")
"""Of objects: the tags of the shapes domain."""


class CocoVal5K(Plain):
    """The benchmark on both domains.

    Photo: the images of val2017 in sorted order, caption 0 of each; FID against them, cut to the square around the
    centre and resized by Pillow's bicubic filter to the images' size, as the paper does not say how. Shapes: held-out
    scenes with a caption each; an image shows its caption where the detector reads exactly what it says, and the
    distance is from the scenes' own pictures.
    """

    name = "coco_val5k"

    def prompts(self, domain: Domain) -> list[Prompt]:
        """All captions; the id is the image's, or the scene's number."""
        if domain == "photo":
            from agsm_bench.data.coco import val5k

            return [Prompt(f"{image.id:012d}", text, "", {"prompt": text}) for image, text in val5k()]
        return [
            Prompt(f"{i:05d}", text, tag, {"tag": tag, "prompt": text}) for i, (tag, text) in enumerate(_captions())
        ]

    def given(self, domain: Domain, prompt: Prompt, size: int) -> Given | None:
        """The picture that the caption is of."""
        if domain == "photo":
            image = _images()[int(prompt.id)]
            return Given(partial(_photograph, image.path, size), f"{image.content} {size}")
        from agsm_bench.shapes.pictures import scene_png

        scene, text = _scenes()[int(prompt.id)]
        return Given(partial(scene_png, scene), text)

    def metrics(self, domain: Domain) -> tuple[str, ...]:
        return (SCENE,) if domain == "shapes" else ()

    def image_metrics(self, domain: Domain) -> tuple[str, ...]:
        """The paper's Tables 1 and 8; the shapes' own cosine is every run's."""
        if domain == "shapes":
            return ()
        return ("image_reward/v1.0", "pickscore/v1", "clip/openai-l14", "hpsv2/v2.1", "fid/legacy_pytorch")

    def run_metrics(self, domain: Domain) -> tuple[str, ...]:
        return ("shapes_frechet",) if domain == "shapes" else ()

    def score_sample(self, prompt: Prompt, sample_id: str, detections: Sequence[Detection]) -> list[Score]:
        """Whether the image is exactly what its caption says."""
        from agsm_bench.shapes.reading import scene_of, shows

        return [Score(sample_id, SCENE, float(shows(prompt.text, scene_of(detections))))]

    def summarise(self, scores: Iterable[Scored]) -> dict[str, Interval]:
        """The share of images that show their caption, over all and by number of objects; nothing on photographs."""
        scored = distinct(scores)
        if not any(SCENE in values for _, _, values in scored):
            return {}
        return means(scored, (SCENE,), NUMBERS)


@cache
def _captions() -> tuple[tuple[str, str], ...]:
    """Of `_scenes`, with their tags; as sampling the scenes takes longer than most commands."""
    lines = Path(__file__).with_name("coco_val5k_shapes.tsv").read_text(encoding="utf-8").splitlines()
    return tuple((tag, text) for tag, _, text in (line.partition("\t") for line in lines))


@cache
def _scenes() -> tuple[tuple[Scene, str], ...]:
    import numpy as np

    from agsm_bench.seeds import seed_of
    from agsm_bench.shapes.captions import caption
    from agsm_bench.shapes.scene import sample_scene

    found = []
    for index in range(COUNT):
        rng = np.random.default_rng(seed_of("shapes coco_val5k", index))
        scene = sample_scene(rng)
        found.append((scene, caption(scene, rng)))
    return tuple(found)


@cache
def _images() -> dict[int, CocoImage]:
    from agsm_bench.data.coco import coco_images

    return {image.id: image for image in coco_images("val2017")}


def _photograph(path: Path, size: int) -> bytes:
    """Raises ValueError where the file is gone or damaged."""
    from PIL import Image

    from agsm_bench.data.coco import picture
    from agsm_bench.errors import MissingError
    from agsm_bench.images import to_png

    try:
        return to_png(Image.fromarray(picture(path, size)))
    except MissingError as error:
        raise ValueError(error.message) from error


BENCHMARK = CocoVal5K()
