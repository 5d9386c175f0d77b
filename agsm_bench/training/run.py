"""A training run from checked options to what it saves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsm_bench.contracts import Backbone, PreferenceTrainer, Trainer
from agsm_bench.errors import ExitCode, MissingError, UserError
from agsm_bench.folders import ensure_writable, read_json, write_json
from agsm_bench.jsonl import writing
from agsm_bench.locking import alone
from agsm_bench.parallel import join, launched
from agsm_bench.provenance import provenance
from agsm_bench.tokens.header import TOKENS_FILE
from agsm_bench.training.config import LoopOptions, check_loop, tokens_config
from agsm_bench.training.job import Job
from agsm_bench.training.log import LOG_FILE
from agsm_bench.training.preferences import read_preferences
from agsm_bench.training.tracking import check_tracker
from agsm_bench.variant import VARIANT_FILE, read_variant

if TYPE_CHECKING:
    from agsm_bench.data.latents import Latents

CONFIG_FILE = "config.json"
LOCK = ".lock"
Progress = Callable[[int, dict[str, float]], None]


def run_training(
    trainer_name: str,
    trainer: Trainer | PreferenceTrainer,
    backbone: Backbone,
    options: LoopOptions,
    objective_options: Any,
    out: Path,
    progress: Progress,
    *,
    backbone_weights: Path | None = None,
    preferences: Path | None = None,
    latents: Latents | None = None,
) -> Path:
    """Trains in `out` and returns what was saved there; goes on where an earlier call stopped.

    Under `accelerate launch` or torchrun all processes share the work; how many there are changes nothing else.

    Args:
        options: `TrainingOptions` of a trainer of tokens, `PreferenceOptions` of a preference trainer; resolved.
        backbone_weights: folder of a variant that tokens are trained on.
        preferences: folder of the pairs of a preference trainer.
        latents: what `agsm-bench data encode` kept of the pictures that tokens are trained on.

    Raises:
        UserError: the folder holds a run of another configuration, is in use, or cannot be written; interrupted (130).
        MissingError: weights, data or a tracker's package are absent, or what is in the folder is damaged.
    """
    backbone.weights()
    variant = read_variant(backbone_weights, backbone) if backbone_weights else None
    pairs = read_preferences(preferences) if preferences else None
    job: Job[Any, Any] = Job(trainer_name, trainer, backbone, options, objective_options, out, variant, pairs, latents)
    _check(job)
    check_tracker(options.tracker)
    processes = join()
    from agsm_bench.diffusion.variants import load_denoiser
    from agsm_bench.training.loop import train
    from agsm_bench.training.state import STATE_FILE, stored_step

    notes = {"processes": processes.count} | ({"latents": latents.describe()} if latents else {})
    try:
        with ExitStack() as held:
            with writing(out):
                processes.on_first(lambda: _claim(out, job.describe(), notes, backbone.device(), held))
            return train(job, load_denoiser(backbone, variant), progress, processes)
    except KeyboardInterrupt as error:
        raise UserError(
            f"Interrupted; {out} keeps the first {stored_step(out / STATE_FILE)} steps.",
            "Run the same command to go on.",
            ExitCode.INTERRUPTED,
        ) from error


def _check(job: Job[Any, Any]) -> None:
    """Raises UserError for what the backbone, the data or the processes have no use for, MissingError for no data."""
    check_loop(job.options, job.backbone, job.backbone.device())
    batches, count = job.options.accumulate, launched().count
    if batches % count:
        raise UserError(
            f"{count} processes cannot share the batches of a step, --accumulate {batches}.",
            f"Use --accumulate {count}, or another multiple of it.",
        )
    if isinstance(job.trainer, Trainer):
        config = tokens_config(job.options, job.backbone, job.trainer.polarities)
        if not config.count + config.image_count:
            raise UserError("--tokens is 0: there is nothing to train.", "Use at least 1.")
        job.trainer.check(job.objective_options, job.backbone)
        stream = job.pairs(False)
        if not (job.latents and stream.picture_key(0) in job.latents.files):
            stream.item(0)
        job.pairs(True).item(0)
    elif job.preferences is None:
        raise UserError(f"{job.trainer_name} needs pairs of images.", "Add --preferences DIR.")
    elif job.options.batch > (count := len(job.preferences.train)):
        raise UserError(f"--batch is {job.options.batch}, and there are {count} pairs.", "Use a smaller --batch.")


def _claim(out: Path, config: dict[str, Any], notes: dict[str, Any], device: str, held: ExitStack) -> None:
    """Locks the folder and writes the configuration, with notes; that of a training begun there must be the same.

    It may have other steps, but no fewer than are done.
    """
    from agsm_bench.training.state import STATE_FILE, stored_step

    ensure_writable(out)
    held.enter_context(alone(out / LOCK, out))
    path = out / CONFIG_FILE
    if path.exists():
        before = read_json(path, "Pass another --out.").get("training")
        if not isinstance(before, dict):
            raise MissingError(f"{path} is damaged, or no training's.", "Pass another --out.")
        files = [out / name for name in (STATE_FILE, TOKENS_FILE, VARIANT_FILE, LOG_FILE)]
        begun = any(file.exists() and file.stat().st_size for file in files)
        changed = [k for k in {**before, **config} if k != "steps" and before.get(k) != config.get(k)]
        if begun and changed:
            was = ", ".join(f"{k} was {before.get(k)!r}, now {config.get(k)!r}" for k in changed)
            raise UserError(f"{out} holds a run of another configuration ({was}).", "Pass another --out.")
    if (done := stored_step(out / STATE_FILE)) > config["steps"]:
        raise UserError(f"{out} has gone on to step {done}.", f"Use --steps {done} or more, or another --out.")
    write_json(path, {"training": config, "provenance": provenance(device) | notes})
