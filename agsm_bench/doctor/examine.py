"""All checks of a chosen run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agsm_bench import plugins
from agsm_bench.contracts import Backbone, check_options
from agsm_bench.doctor import data, disk, models
from agsm_bench.doctor.check import Check
from agsm_bench.doctor.machine import compiler, find_device, slow_on_cpu
from agsm_bench.doctor.memory import fits
from agsm_bench.doctor.packages import packages
from agsm_bench.errors import MissingError, UserError
from agsm_bench.model_options import ModelOptions, changes, configured
from agsm_bench.training.config import TrainingOptions, check_loop, resolve
from agsm_bench.training.tracking import check_tracker
from agsm_bench.weights import TOGETHER, Part


def examine(name: str | None, model: ModelOptions, training: TrainingOptions, out: Path) -> Iterator[Check]:
    """What is there and what is not, for a training of soft tokens.

    Args:
        name: the backbone; None: the shapes ones are needed, and the others are looked at.
        model: the model's flags, which are for a named backbone.
        training: the training's flags, unresolved.
        out: where the training would write.

    Raises:
        UserError: flags that make no sense.
    """
    for options in (model, training):
        check_options(options)
    if name is None and (changed := changes(model)):
        raise UserError(f"--{next(iter(changed))} says nothing without --backbone.", "Add --backbone NAME.")
    yield from packages(bits=model.t5 == "8bit")
    yield from _tracker(training.tracker)
    yield from _overview(out) if name is None else _one(name, model, training, out)


def _tracker(name: str) -> Iterator[Check]:
    try:
        check_tracker(name)
    except MissingError as error:
        yield Check("packages", name, "missing", error.message, error.fix)


def _overview(out: Path) -> Iterator[Check]:
    """Every backbone in a line; those of the shapes domain are to be there."""
    _, checks = find_device(None, shapes=True)
    yield from checks
    for name in plugins.names("backbones"):
        try:
            backbone: Backbone = plugins.load("backbones", name)
        except MissingError as error:
            yield Check("weights", name, "missing", error.message, error.fix, needed=False)
        else:
            yield models.in_one_line(backbone, models.parts_of(backbone), backbone.domain == "shapes")
    yield from data.datasets(())
    yield from disk.disk(out, 0, 0.0, ())


def _one(name: str, model: ModelOptions, training: TrainingOptions, out: Path) -> Iterator[Check]:
    """A training of soft tokens on a backbone."""
    plain: Backbone = plugins.load("backbones", name)
    device, checks = find_device(model.device, plain.domain == "shapes")
    yield from checks
    try:
        chosen = configured(plain, model)
        parts = models.parts_of(chosen)
    except MissingError as error:
        chosen, parts = plain, [Part("model", problem=error)]
    needed = data.TRAINING if chosen.domain == "photo" else ()
    options = resolve(training, chosen)
    check_loop(options, chosen, device.name)
    yield from slow_on_cpu(chosen, device)
    if model.compile:
        yield compiler(device)
    yield from models.detailed(parts)
    yield from data.datasets(needed)
    if not any(part.name == TOGETHER for part in parts):  # which say nothing of one model
        try:
            yield fits(chosen, parts, options, model, device)
        except MissingError as error:
            yield Check("memory", "training", "missing", error.message, error.fix)
    yield from disk.disk(out, disk.training_bytes(options, chosen), sum(part.gigabytes for part in parts), needed)
