"""`agsm-bench data encode`: the VAE's work of a training, done once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agsm_bench.cli.eval import parse_shard
from agsm_bench.cli.options import pick, with_flags
from agsm_bench.contracts import check_options
from agsm_bench.errors import ExitCode, UserError
from agsm_bench.model_options import ModelOptions, configured

if TYPE_CHECKING:
    from agsm_bench.data.encode import Plan


def _encode(
    backbone: Annotated[str, typer.Option(help="Backbone of photographs: sd15, sdxl or sd3.")],
    size: Annotated[int, typer.Option(min=8, help="Side of the pictures that the training sees, in pixels.")] = 512,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/n: only part i (from 0) of n; parts made elsewhere are copied together.")
    ] = None,
    **flags: Any,
) -> None:
    """Encode COCO train2017 once with a backbone's VAE; `train` then finds the latents and needs no VAE for them.

    Give it the training's own flags of the model, e.g. --model and --dtype. Called again it goes on where it stopped
    and mends what is damaged.

    \b
    agsm-bench data encode --backbone sd15 --limit 1000
    agsm-bench data encode --backbone sd3 --shard 0/4
    """
    from agsm_bench import plugins
    from agsm_bench.cli.progress import phases
    from agsm_bench.data import encode as encoding
    from agsm_bench.data.coco import coco_images
    from agsm_bench.data.latents import is_claimed, spec_of

    model = pick(ModelOptions, flags)
    check_options(model)
    part = parse_shard(shard) or (0, 1)
    chosen = configured(plugins.load("backbones", backbone), model)
    spec, images = spec_of(chosen, size), coco_images("train2017")[:limit]
    is_claimed(spec)
    assert chosen.load_encoder is not None
    encoder = chosen.load_encoder()
    plan = encoding.make_plan(encoder, spec, images, part)
    _show(plan)
    try:
        with phases(backbone) as show:
            folder = encoding.encode(plan, encoder, show)
    except KeyboardInterrupt as error:
        fix = "Run the same command to go on."
        raise UserError(f"Interrupted; {spec.folder} keeps what is done.", fix, ExitCode.INTERRUPTED) from error
    written = sum((folder / name).stat().st_size for name in plan.own)
    pictures = sum(map(len, plan.own.values()))
    each = f", {written / pictures:,.0f} bytes each on disk" if pictures else ""
    typer.echo(f"Kept: {pictures:,} pictures{each}; `agsm-bench train` with the same flags finds them.")


def _show(plan: Plan) -> None:
    """What it takes, before it starts."""
    channels, height, width = plan.shape
    spec, own = plan.spec, sum(map(len, plan.own.values()))
    equal = f", {plan.images - plan.pictures:,} of them copies" if plan.images > plan.pictures else ""
    typer.echo(f"pictures     {plan.images:,} at {spec.size} px{equal}")
    values = f"{channels} x {height} x {width} x {plan.item_bytes} bytes ({spec.dtype})"
    typer.echo(f"each         {values} = {plan.picture_bytes:,} bytes")
    typer.echo(f"total        {_gigabytes(plan.on_disk(plan.pictures))}, with {plan.pictures:,} names and checksums")
    if plan.part[1] > 1:
        typer.echo(f"this part    {_gigabytes(plan.on_disk(own))}, {own:,} pictures")
    typer.echo(f"folder       {spec.folder}")


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


encode = with_flags(_encode, ModelOptions)
