"""The counting benchmark."""

from __future__ import annotations

from collections import Counter

import pytest

from agsm_bench import plugins
from agsm_bench.planning import samples_of
from agsm_bench.types import Detection, Domain, Prompt, Score

BENCHMARK = plugins.load("benchmarks", "counting")


def circles(count: int) -> list[Detection]:
    return [Detection("circle", (8.0 * i, 0.0, 8.0 * i + 7, 7.0), 0.99, "red") for i in range(count)]


@pytest.mark.parametrize(("domain", "prompts"), [("shapes", 84), ("photo", 240)])
def test_every_text_once(domain: Domain, prompts: int) -> None:
    found: list[Prompt] = BENCHMARK.prompts(domain)
    assert len({p.id for p in found}) == len({p.text for p in found}) == prompts
    assert Counter(p.requirement["include"][0]["count"] for p in found) == dict.fromkeys((2, 3, 4), prompts // 3)


def test_it_knows_genevals_prompts() -> None:
    geneval = plugins.load("benchmarks", "geneval").prompts("shapes")
    own = {p.text: p.requirement for p in BENCHMARK.prompts("shapes")}
    assert all(own[p.text] == p.requirement for p in geneval if p.tag == "counting")


def test_enough_images_for_the_claims() -> None:
    assert len(samples_of(BENCHMARK.prompts("shapes"), BENCHMARK.images_per_prompt)) == 504


def test_verdicts_and_summary_are_genevals() -> None:
    prompt = next(p for p in BENCHMARK.prompts("shapes") if p.text == "a photo of three circles")
    judged = {n: BENCHMARK.score_sample(prompt, f"{prompt.id}/{n:04d}", circles(n)) for n in (2, 3, 4)}
    values = {n: {s.metric: s.value for s in scores} for n, scores in judged.items()}
    assert [values[n]["geneval/correct"] for n in (2, 3, 4)] == [0, 1, 0]
    assert [values[n]["shapes/too_many"] for n in (2, 3, 4)] == [0, 0, 1]

    def row(scores: list[Score]) -> tuple[Prompt, str, dict[str, float | None]]:
        return prompt, scores[0].sample_id, {s.metric: s.value for s in scores}

    summary = BENCHMARK.summarise(map(row, judged.values()))
    assert summary["geneval/counting"].value == pytest.approx(1 / 3)
    assert "geneval/mean" not in summary
