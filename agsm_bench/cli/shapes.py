"""`agsm-bench shapes`: the miniature world's own commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agsm_bench.cli.options import pick, with_flags
from agsm_bench.contracts import check_options
from agsm_bench.errors import UserError
from agsm_bench.folders import ensure_writable
from agsm_bench.shapes.pair_options import PairOptions

BUILDS = ("shapes-vae", "shapes-unet", "shapes-mmdit", "shapes-clip")

shapes = typer.Typer(help="Build and look at the embedded miniature world.", no_args_is_help=True, add_completion=False)


@shapes.command()
def build(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(BUILDS)}.")],
    out: Annotated[
        Path, typer.Option(help="Working folder: data, checkpoints, logs; the model ends in OUT/NAME/model.")
    ] = Path("runs/shapes-build"),
    steps: Annotated[int | None, typer.Option(help="Optimiser steps. (default: the recipe's)")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; two builds side by side with one each are fastest.")] = 1,
) -> None:
    """Train a miniature model from scratch on rendered scenes; resumes what is in the folder.

    The shipped ones: agsm-bench shapes build shapes-mmdit && agsm-bench shapes build shapes-unet
    """
    if name not in BUILDS:
        raise UserError(f"There is no miniature model '{name}'.", f"Known: {', '.join(BUILDS)}.")
    for flag, value in (("--steps", steps), ("--threads", threads)):
        if value is not None and value < 1:
            raise UserError(f"{flag} is {value}.", "Use at least 1.")
    ensure_writable(out)
    import torch

    from agsm_bench.shapes import build as builder

    torch.set_num_threads(threads)
    if name == "shapes-clip":
        from agsm_bench.shapes.clip import build_clip

        build_clip(out, steps)
        model = out / name / "model"
    else:
        model = builder.build(name, out, steps)
    typer.echo(
        f"Saved {model}; use it with AGSM_BENCH_SHAPES_WEIGHTS, or copy it into agsm_bench/shapes/weights/{name}."
    )


@shapes.command()
def samples(
    backbone: Annotated[str, typer.Argument(help="A shapes backbone.")] = "shapes-mmdit",
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("samples.png"),
) -> None:
    """Write a sheet of samples, twelve for each of GenEval's six tasks, enlarged."""
    from agsm_bench import plugins
    from agsm_bench.contracts import Backbone

    chosen: Backbone = plugins.load("backbones", backbone)
    chosen.weights()
    ensure_writable(out.parent)
    from agsm_bench.shapes.show import write_samples

    write_samples(chosen.load(), out, steps=chosen.sampling.steps, guidance_scale=chosen.sampling.guidance_scale)
    typer.echo(f"Wrote {out}.")


def _preferences(
    backbone: Annotated[str, typer.Option(help="The shapes backbone that makes the images.")] = "shapes-mmdit",
    out: Annotated[
        Path | None, typer.Option(help="The folder; resumes what is in it. (default: runs/preferences-BACKBONE)")
    ] = None,
    **flags: Any,
) -> None:
    """Make preference pairs: images of the backbone's own, one right and one wrong by the exact detector.

    Next: agsm-bench train diffusion_dpo --backbone BACKBONE --preferences OUT --out runs/dpo
    """
    options = pick(PairOptions, flags)
    check_options(options)
    from agsm_bench import plugins
    from agsm_bench.cli.progress import phases
    from agsm_bench.errors import ExitCode
    from agsm_bench.shapes.preferences import make_preferences

    folder = out or Path("runs") / f"preferences-{backbone}"
    try:
        with phases(f"preferences of {backbone}") as show:
            make_preferences(plugins.load("backbones", backbone), folder, options, show)
    except KeyboardInterrupt as error:
        fix = "Run the same command to go on."
        raise UserError(f"Interrupted; {folder} keeps what is done.", fix, ExitCode.INTERRUPTED) from error
    typer.echo(f"Preferences: {folder}")


shapes.command("preferences")(with_flags(_preferences, PairOptions))


@shapes.command()
def scenes(
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("scenes.png"),
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 0,
) -> None:
    """Write a sheet of 72 rendered scenes, enlarged, and print their captions."""
    ensure_writable(out.parent)
    from agsm_bench.shapes.pairs import ShapesPairs
    from agsm_bench.shapes.show import grid

    items = [ShapesPairs(seed, held_out=False).item(index) for index in range(72)]
    grid([picture for picture, _ in items]).save(out)
    for _, caption in items:
        typer.echo(caption)
