"""UniGenBench++: 600 long prompts, by preference metrics and, if asked, a vision-language judge (Wang et al. 2025)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from agsm_bench.benchmark import Plain, Scored
from agsm_bench.columns import distinct, means
from agsm_bench.types import Detection, Domain, Interval, Prompt, Score

if TYPE_CHECKING:
    from agsm_bench.unigenbench.prompts import Reading

PREFIX = "unigenbench/"
POINTS = f"{PREFIX}points"
SCENE = f"{PREFIX}scene"


class UniGenBench(Plain):
    """The benchmark on both domains.

    Photo: the 600 long English prompts by the paper's four metrics (Table 9), an image each; `--judge-url` adds the
    benchmark's own score, which upstream takes of `--images-per-prompt 4`. Shapes: 600 long captions, whose test points
    (object, attribute, relation, count) the detector answers; `points` is their mean, `scene` whether the image is
    exactly what the caption says.
    """

    name = "unigenbench"

    def prompts(self, domain: Domain) -> list[Prompt]:
        """All of them, by their index."""
        if domain == "photo":
            return list(_reading().prompts)
        from agsm_bench.shapes.long_captions import long_captions

        return [
            Prompt(f"{i:05d}", each.text, "", {"prompt": each.text, "items": each.items, "relation": each.relation})
            for i, each in enumerate(long_captions())
        ]

    def problems(self, domain: Domain) -> list[str]:
        """Bad rows of the file of prompts."""
        return list(_reading().problems) if domain == "photo" else []

    def metrics(self, domain: Domain) -> tuple[str, ...]:
        return (POINTS, SCENE, *_kinds()) if domain == "shapes" else ()

    def run_metrics(self, domain: Domain) -> tuple[str, ...]:
        return () if domain == "shapes" else ("unigenbench_judge",)

    def image_metrics(self, domain: Domain) -> tuple[str, ...]:
        """The paper's Table 9; the shapes' own cosine is every run's."""
        return () if domain == "shapes" else ("image_reward/v1.0", "clip/openai-l14", "pickscore/v1", "hpsv2/v2.1")

    def score_sample(self, prompt: Prompt, sample_id: str, detections: Sequence[Detection]) -> list[Score]:
        """The test points of one image, each kind's share and their mean, and the whole caption."""
        from agsm_bench.shapes.long_captions import long_captions
        from agsm_bench.shapes.reading import scene_of, shows

        scene = scene_of(detections)
        values = {PREFIX + kind: value for kind, value in long_captions()[int(prompt.id)].judge(scene).items()}
        values |= {POINTS: sum(values.values()) / len(values), SCENE: float(shows(prompt.text, scene))}
        return [Score(sample_id, metric, value) for metric, value in values.items()]

    def summarise(self, scores: Iterable[Scored]) -> dict[str, Interval]:
        """Means over the images, of the shapes domain: photographs have those of their metrics."""
        scored = distinct(scores)
        own = [name for name in self.metrics("shapes") if any(name in values for _, _, values in scored)]
        return means(scored, own)


def _kinds() -> tuple[str, ...]:
    from agsm_bench.shapes.long_captions import POINTS as KINDS

    return tuple(PREFIX + kind for kind in KINDS)


def _reading() -> Reading:
    from agsm_bench.data.places import ready
    from agsm_bench.data.table import dataset

    return _read(ready(dataset("unigenbench")) / "test_prompts_en_long.csv")


@cache
def _read(path: Path) -> Reading:
    from agsm_bench.unigenbench.prompts import read_prompts

    return read_prompts(path)


BENCHMARK = UniGenBench()
