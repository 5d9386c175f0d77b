"""`agsm-bench train TRAINER`: one subcommand a trainer, with a flag for each of its options."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from agsm_bench import plugins
from agsm_bench.cli.options import pick, with_flags
from agsm_bench.cli.progress import phases, say
from agsm_bench.contracts import PreferenceTrainer, Trainer, check_options
from agsm_bench.errors import MissingError
from agsm_bench.model_options import ModelOptions, changes, check_offload, configured
from agsm_bench.parallel import launched
from agsm_bench.protocol import training_defaults
from agsm_bench.training.config import fill, options_of, resolve

BackboneName = Annotated[str, typer.Option(help="Backbone, see `agsm-bench list backbones`.")]
Out = Annotated[
    Path | None,
    typer.Option(help="Run folder; resumes what is in it. (default: runs/TRAINER-BACKBONE-SEED)"),
]


class TrainerGroup(typer.core.TyperGroup):
    """A command for every trainer that `agsm-bench list trainers` shows, made when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return plugins.names("trainers")

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            plugins.load("trainers", cmd_name)
        help = plugins.description("trainers", cmd_name)
        try:
            trainer: Trainer | PreferenceTrainer = plugins.load("trainers", cmd_name)
        except MissingError:
            if ctx.resilient_parsing:
                return None
            raise
        app = typer.Typer(add_completion=False)
        command: Any = _train if isinstance(trainer, Trainer) else _tune
        run = partial(command, cmd_name, trainer)
        run.__doc__ = help
        app.command(cmd_name, help=help)(with_flags(run, options_of(trainer), trainer.options, ModelOptions))
        return typer.main.get_command(app)


train = typer.Typer(
    cls=TrainerGroup, help="Train soft tokens, or fine-tune a backbone.", no_args_is_help=True, add_completion=False
)


@train.callback()
def _group() -> None:
    """Train soft tokens on a frozen backbone, or fine-tune the backbone on preferences.

    \b
    agsm-bench train agsm --backbone shapes-mmdit --out runs/agsm
    agsm-bench train softrepa --backbone shapes-unet --steps 500 --seed 1 --out runs/softrepa-1
    agsm-bench train diffusion_dpo --preferences runs/preferences-shapes-mmdit --out runs/dpo
    """


def _train(
    trainer_name: str,
    trainer: Trainer,
    backbone: BackboneName = "shapes-mmdit",
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Folder of a variant of the backbone, e.g. of `train diffusion_dpo`.")
    ] = None,
    out: Out = None,
    **flags: Any,
) -> None:
    """Train."""
    folder = _run(trainer_name, trainer, backbone, out, flags, backbone_weights=backbone_weights)
    variant = f" --backbone-weights {backbone_weights}" if backbone_weights else ""
    say(f"Next: agsm-bench eval geneval --backbone {backbone}{_model_flags(flags)}{variant} --tokens {folder}")


def _tune(
    trainer_name: str,
    trainer: PreferenceTrainer,
    preferences: Annotated[Path, typer.Option(help="Folder of pairs, e.g. of `agsm-bench shapes preferences`.")],
    backbone: BackboneName = "shapes-mmdit",
    out: Out = None,
    **flags: Any,
) -> None:
    """Fine-tune."""
    folder = _run(trainer_name, trainer, backbone, out, flags, preferences=preferences)
    say(f"Next: agsm-bench eval geneval --backbone {backbone}{_model_flags(flags)} --backbone-weights {folder}")


def _run(
    trainer_name: str,
    trainer: Trainer | PreferenceTrainer,
    backbone: str,
    out: Path | None,
    flags: dict[str, Any],
    **inputs: Any,
) -> Path:
    """Checks the flags, runs the training, and returns its folder."""
    from agsm_bench.data.latents import find_latents, others_than
    from agsm_bench.training.run import run_training

    options, own, model = (pick(each, flags) for each in (options_of(trainer), trainer.options, ModelOptions))
    for each in (options, own, model):
        check_options(each)
    check_offload(model, variant=bool(inputs.get("backbone_weights")), tuned=isinstance(trainer, PreferenceTrainer))
    chosen = configured(plugins.load("backbones", backbone), model)
    folder = out or Path("runs") / f"{trainer_name}-{backbone}-{options.seed}"
    released = dict(training_defaults(model.protocol, trainer_name, backbone))
    own = fill(own, asdict(chosen.training) | released)
    resolved = resolve(fill(options, released), chosen)
    total = int(resolved.steps or 0)
    if isinstance(trainer, Trainer) and (latents := find_latents(chosen, resolved.size)):
        if launched().first:
            typer.echo(f"Latents of {len(latents.files):,} pictures: {latents.spec.folder}", err=True)
        inputs["latents"] = latents
    elif isinstance(trainer, Trainer) and (others := others_than(chosen, resolved.size)):
        note = "are of another VAE, type or size; `agsm-bench data encode` with this training's flags makes its own."
        if launched().first:
            typer.echo(f"The latents that are kept ({', '.join(others)}) {note}", err=True)
    with phases(f"{trainer_name} on {backbone}") as show:
        path = run_training(
            trainer_name, trainer, chosen, resolved, own, folder,
            lambda step, record: show("train", step, total, f"loss {record['loss']:.4f}"),
            **inputs,
        )  # fmt: skip
    say(f"Saved: {path}")
    return folder


def _model_flags(flags: dict[str, Any]) -> str:
    """The flags of the model that are not the default: the evaluation is to be of the same."""
    named = changes(pick(ModelOptions, flags)).items()
    words = [word for name, value in named for word in (f"--{name}", *([] if value is True else [str(value)]))]
    return "".join(f" {shlex.quote(word)}" for word in words)
