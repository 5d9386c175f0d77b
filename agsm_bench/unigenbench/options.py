"""How the judge is asked: settings with a flag each. No requests here: every `--help` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from agsm_bench.contracts import option


@dataclass(frozen=True)
class JudgeOptions:
    """The judge's server, and how it is asked. Its key is in AGSM_BENCH_JUDGE_KEY or OPENAI_API_KEY."""

    judge_url: str | None = option(
        None, "The judge's OpenAI-compatible server, e.g. http://localhost:8000/v1; its key: $AGSM_BENCH_JUDGE_KEY."
    )
    judge_model: str = option("CodeGoat24/UniGenBench-EvalModel-qwen3vl-32b-v1", "The judge's name at its server.")
    judge_concurrency: int = option(8, "Images that are judged at the same time.", min=1, max=256)
    judge_retries: int = option(5, "Tries after the first, where the judge is busy or not reached.", min=0)
    judge_timeout: float = option(120.0, "Seconds that a silent judge is waited for.", min=0.01)
    judge_backoff: float = option(1.0, "Seconds before the first retry, doubled for each further one.", min=0)
