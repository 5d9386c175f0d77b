"""The smoke: a short AGSM training and a small evaluation, compared with `results/baselines/smoke.json`.

It is a regression gate on this package, for a minute or two of two cores. So that a few steps see the objective, the
guidance is ten times the paper's and the learning rate three times that of shapes; what comes out is no result of AGSM.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from agsm_bench import plugins
from agsm_bench.contracts import Backbone, Progress, Trainer
from agsm_bench.errors import UserError
from agsm_bench.evaluate import evaluate
from agsm_bench.report.files import results_dir
from agsm_bench.request import EvaluationOptions, Request
from agsm_bench.training.config import TrainingOptions, fill, resolve
from agsm_bench.training.run import run_training

BACKBONE = "shapes-mmdit"
STEPS = 10
LEARNING_RATE = 1e-2
GAMMA_POSITIVE = 10.0
PROMPTS = 60
"""Of GenEval's, evenly spaced, an image each."""


def baseline_file() -> Path:
    """What it is compared with."""
    return results_dir() / "baselines" / "smoke.json"


def run_smoke(root: Path, seed: int, progress: Progress) -> Path:
    """Trains and evaluates anew, below `root`; returns the run folder.

    Raises:
        UserError: the folder holds an earlier one, which would say nothing of today's code.
    """
    tokens, run = root / "tokens", root / "geneval"
    if tokens.exists() or run.exists():
        raise UserError(f"{root} holds an earlier smoke.", "Delete it, or use another --folder.")
    trainer: Trainer = plugins.load("trainers", "agsm")
    backbone: Backbone = plugins.load("backbones", BACKBONE)
    training = TrainingOptions(steps=STEPS, learning_rate=LEARNING_RATE, validate_every=STEPS, seed=seed)
    own = fill(trainer.options(gamma_positive=GAMMA_POSITIVE), asdict(backbone.training))
    resolved = resolve(training, backbone)
    run_training("agsm", trainer, backbone, resolved, own, tokens, lambda step, _: progress("train", step, STEPS))
    options = EvaluationOptions(limit=PROMPTS, images_per_prompt=1)
    evaluate(Request("geneval", BACKBONE, run, tokens, options), progress)
    return run
