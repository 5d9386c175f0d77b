"""The demo: train AGSM on the miniature, evaluate it beside its base, write a page with the images side by side."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from agsm_bench import plugins
from agsm_bench.contracts import Backbone, Progress, Trainer
from agsm_bench.evaluate import evaluate
from agsm_bench.request import EvaluationOptions, Request
from agsm_bench.rescore import rescore
from agsm_bench.scoring.runs import How
from agsm_bench.training.config import TrainingOptions, fill, resolve
from agsm_bench.training.run import run_training

BACKBONE = "shapes-mmdit"
STEPS = 600
IMAGES_PER_PROMPT = 1
"""GenEval has four; one keeps the demo within minutes."""


CHANGE = ("psnr", "shapes_clip/lpips")
"""How far the tokens move an image: from the base's of the same sample and noise."""


@dataclass(frozen=True)
class Folders:
    """Where the demo's parts lie."""

    root: Path

    @property
    def tokens(self) -> Path:
        return self.root / "tokens"

    @property
    def base(self) -> Path:
        return self.root / "geneval-base"

    @property
    def agsm(self) -> Path:
        return self.root / "geneval-agsm"

    @property
    def page(self) -> Path:
        return self.root / "report.html"


def run_demo(root: Path, progress: Progress, *, steps: int = STEPS, limit: int | None = None) -> Folders:
    """Trains, evaluates twice and writes the page; what is done already is not done again."""
    folders = Folders(root)
    train_tokens(folders.tokens, steps, progress)
    options = EvaluationOptions(limit=limit, images_per_prompt=IMAGES_PER_PROMPT)
    for name, out, tokens in (("base", folders.base, None), ("AGSM", folders.agsm, folders.tokens)):
        request = Request("geneval", BACKBONE, out, tokens, options)
        evaluate(request, lambda phase, done, total, name=name: progress(f"{name}: {phase}", done, total))  # type: ignore[misc]
    rescore([folders.agsm], None, progress, CHANGE, How(references=folders.base))
    from agsm_bench.report.side_by_side import write_page
    from agsm_bench.training.log import LOG_FILE

    title = f"AGSM on {BACKBONE}, {steps} steps"
    write_page(folders.base, folders.agsm, folders.page, training_log=folders.tokens / LOG_FILE, title=title)
    return folders


def train_tokens(out: Path, steps: int, progress: Progress) -> None:
    """AGSM with the backbone's default options, for `steps` steps."""
    trainer: Trainer = plugins.load("trainers", "agsm")
    backbone: Backbone = plugins.load("backbones", BACKBONE)
    options = resolve(TrainingOptions(steps=steps), backbone)
    own = fill(trainer.options(), asdict(backbone.training))
    run_training("agsm", trainer, backbone, options, own, out, lambda step, _: progress("train", step, steps))
