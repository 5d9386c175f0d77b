"""Counting: every prompt that asks for two, three or four of a kind, judged by GenEval's rules."""

from __future__ import annotations

from itertools import product

from agsm_bench.geneval import GenEval
from agsm_bench.geneval_prompts import COCO_CLASSES, Thing, counting_entry, shapes_population
from agsm_bench.types import Domain, Prompt


class Counting(GenEval):
    """GenEval's counting task with its whole population of prompts, not a draw of 80.

    In the shapes world these are 84 (4 shapes in 6 colours or none): with six images each, 504 images, which tells
    two methods apart that GenEval's 320 cannot. On photographs all 240 (80 classes, plain).
    """

    name = "counting"
    images_per_prompt = 6

    def prompts(self, domain: Domain) -> list[Prompt]:
        """All of them; the id is the index."""
        photo = [counting_entry(Thing(name, count=count)) for count, name in product((2, 3, 4), COCO_CLASSES)]
        entries = photo if domain == "photo" else shapes_population()["counting"]
        return [Prompt(f"{i:05d}", entry["prompt"], entry["tag"], entry) for i, entry in enumerate(entries)]


BENCHMARK = Counting()
