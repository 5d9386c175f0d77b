"""`agsm-bench score`: a run again, more metrics of a run, or anybody's images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from agsm_bench.cli.options import pick, with_flags
from agsm_bench.errors import ExitCode, UserError
from agsm_bench.plugins import full_name
from agsm_bench.request import Scoring
from agsm_bench.terminal import plain_console
from agsm_bench.types import Domain
from agsm_bench.unigenbench.options import JudgeOptions

if TYPE_CHECKING:
    from agsm_bench.scoring.runs import How


def _score(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="A run folder, or several shards of one run to merge.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Names with commas, see `agsm-bench list metrics`. (default of a run: its own)")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="In place of a run: a folder (GenEval's layout, or any) or a parquet file.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="Prompts of --images: CSV, JSONL, or a line each.")] = None,
    references: Annotated[
        Path | None,
        typer.Option(help="Images to compare with: a folder or run; of FID also statistics in an .npz file."),
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder of masks, bright where --images were edited.")] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=PATH: of a metric or detector, a file or folder in place of the caches; again for more."
        ),
    ] = None,
    reference: Annotated[bool, typer.Option("--reference", help="Judge by the upstream packages, slowly.")] = False,
    detector: Annotated[
        str | None, typer.Option(help="Of a run, see `agsm-bench list detectors`. (default: the domain's)")
    ] = None,
    device: Annotated[str | None, typer.Option(help="e.g. cuda:1 or cpu. (default: CUDA where there is any)")] = None,
    batch_size: Annotated[int, typer.Option(help="Images at once.", min=1)] = 32,
    benchmark: Annotated[
        str | None, typer.Option(help="With --images: they are of this benchmark's prompts, and judged as its run.")
    ] = None,
    domain: Annotated[Literal["photo", "shapes"], typer.Option(help="With --benchmark: which prompts.")] = "photo",
    results: Annotated[
        Path | None, typer.Option(help="GenEval's results.jsonl, made anywhere: checked and summed up.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the merged run, or of the scores of --images.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    **flags: Any,
) -> None:
    """Score a run again or by more metrics, merge shards, or score anybody's images; resumes.

    \b
    agsm-bench score runs/geneval-shapes-mmdit
    agsm-bench score runs/geneval-sd15 --metrics image_reward/v1.0,pickscore/v1
    agsm-bench score runs/agsm2-geneval --metrics psnr,shapes_clip/lpips --references runs/geneval-shapes-mmdit
    agsm-bench score --images DIR --prompts prompts.csv --metrics clip/openai-l14 --out scores
    agsm-bench score --images DIR --benchmark geneval --out runs/theirs
    agsm-bench score --results results.jsonl
    """
    names = [name.strip() for name in (metrics or "").split(",") if name.strip()]
    if sum(map(bool, (runs, images, results))) != 1:
        raise UserError(
            "Name a run, or images.", "agsm-bench score RUN, or agsm-bench score --images DIR --metrics NAME"
        )
    if results:
        _show_results(results, json_)
        return
    try:
        if images is None:
            if prompts or masks:
                raise UserError("--prompts and --masks are for --images.", "A run has its own prompts; leave them out.")
            if not names and (reference or references):
                raise UserError("--reference and --references are for --metrics.", "Add --metrics NAME.")
            given = Scoring(None, False, dict(map(given_weight, weights or [])), detector, device, batch_size)
            how = _how(weights, reference, references, device, batch_size, names)
            _score_runs(runs or [], out, names, how, given, pick(JudgeOptions, flags), json_)
        elif benchmark:
            if prompts or masks or references:
                fix = "Leave out --prompts, --masks and --references."
                raise UserError("A benchmark has its own prompts, masks and references.", fix)
            found = dict(map(given_weight, weights or []))
            scoring = Scoring(tuple(names) or None, False, found, detector, device, batch_size)
            name, judge = full_name("benchmarks", benchmark), pick(JudgeOptions, flags)
            _score_imported(images, name, domain, out, scoring, judge, json_)
        else:
            how = _how(weights, reference, references, device, batch_size, names)
            _score_images(images, prompts, masks, out or Path("scores") / images.stem, names, how, json_)
    except KeyboardInterrupt as error:
        fix = "Run the same command to go on."
        raise UserError("Interrupted; what is scored is kept.", fix, ExitCode.INTERRUPTED) from error


score = with_flags(_score, JudgeOptions)


def _how(
    weights: list[str] | None,
    upstream: bool,
    references: Path | None,
    device: str | None,
    batch_size: int,
    names: list[str],
) -> How:
    from agsm_bench.scoring.runs import How
    from agsm_bench.scoring.settings import PassSettings, default_device

    if references is not None and not references.exists():
        raise UserError(f"There is no {references}.", "Give --references a folder of images, a run or an .npz file.")
    settings = PassSettings((device or default_device()) if names else "cpu", batch_size)
    return How(dict(map(given_weight, weights or [])), upstream, references, settings)


def given_weight(text: str) -> tuple[str, Path]:
    """NAME=PATH as two; raises UserError."""
    name, equals, path = text.partition("=")
    if not equals or not Path(path).exists():
        raise UserError(f"--weights is '{text}'.", "Use NAME=PATH with a file or folder that is there.")
    return name, Path(path)


def _score_runs(
    runs: list[Path],
    out: Path | None,
    names: list[str],
    how: How,
    scoring: Scoring,
    judge: JudgeOptions,
    as_json: bool,
) -> None:
    from agsm_bench.cli.eval import show
    from agsm_bench.cli.progress import phases
    from agsm_bench.rescore import rescore

    with phases("score") as progress:
        folder, summary = rescore(runs, out, progress, names, how, scoring, judge)
    show(summary, folder, as_json)


def _score_imported(
    images: Path,
    name: str,
    domain: Domain,
    out: Path | None,
    scoring: Scoring,
    judge: JudgeOptions,
    as_json: bool,
) -> None:
    from agsm_bench import plugins
    from agsm_bench.cli.eval import show
    from agsm_bench.cli.progress import phases
    from agsm_bench.evaluate import score_run
    from agsm_bench.imported import run_of
    from agsm_bench.score import judging_of
    from agsm_bench.unigenbench.of_run import check_judge

    check_judge(name, domain, judge)
    judging = judging_of(plugins.load("benchmarks", name), domain, scoring)
    folder = out or Path("runs") / f"{name}-{images.resolve().name}"
    with phases("score") as progress:
        run, samples = run_of(judging.benchmark, domain, images, folder, progress)
        with run:
            summary = score_run(run, judging, samples, progress, judge)
    show(summary, folder, as_json)


def _show_results(path: Path, as_json: bool) -> None:
    """A results file's summary."""
    from agsm_bench.geneval_results import read_results
    from agsm_bench.report.summary import results_table
    from agsm_bench.store import interval_record

    found = read_results(path)
    if as_json:
        metrics = {name: interval_record(interval) for name, interval in found.metrics.items()}
        typer.echo(json.dumps({"images": found.images, "metrics": metrics, "warnings": found.warnings}))
    else:
        plain_console().print(results_table(path.name, found.metrics, found.warnings))


def _score_images(
    images: Path, prompts: Path | None, masks: Path | None, out: Path, names: list[str], how: How, as_json: bool
) -> None:
    from agsm_bench.cli.progress import phases
    from agsm_bench.report.metrics_table import scores_table
    from agsm_bench.scoring.collection import score_collection
    from agsm_bench.scoring.sources import read_items

    if not names:
        raise UserError("--images needs metrics.", "Add --metrics, e.g. clip/openai-l14; agsm-bench list metrics")
    per_image = how.references if how.references and how.references.suffix != ".npz" else None
    items = read_items(images, prompts, per_image if _compares(names) else None, masks)
    with phases("score") as progress:
        summary = score_collection(items, names, out, how, progress)
    if as_json:
        typer.echo(json.dumps(summary))
        return
    plain_console().print(scores_table(summary))
    typer.echo(f"Scores: {out}")


def _compares(names: list[str]) -> bool:
    """Whether a metric compares each image with its own reference."""
    from agsm_bench.scoring.selection import known

    everything = known()
    return any("reference" in everything[n].variants[n].needs for n in names if n in everything)
