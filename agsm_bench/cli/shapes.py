"""`agsm-bench shapes`: the miniature world's own commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agsm_bench.errors import UserError
from agsm_bench.folders import ensure_writable

BUILDS = ("shapes-vae", "shapes-unet", "shapes-mmdit", "shapes-clip")

shapes = typer.Typer(help="Build and look at the embedded miniature world.", no_args_is_help=True)


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
