"""GenEval: 553 prompts on objects, counts, colours and positions, judged by a detector (Ghosh et al. 2023)."""

from __future__ import annotations

from agsm_bench.geneval import GenEval

BENCHMARK = GenEval()
