"""Images that were made elsewhere, as a run: scored, resumed and summed up like any other.

They lie in upstream's layout (GenEval's folders `NNNNN/samples/NNNN.png`), or in one folder as `ID.png` or
`ID_INDEX.png` (UniGenBench++'s `{index}_{j}.png`), with the ids of `agsm-bench prompts NAME --ids`. They
are copied.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agsm_bench.benchmark import Benchmark
from agsm_bench.contracts import Progress
from agsm_bench.damage import DAMAGED
from agsm_bench.errors import UserError
from agsm_bench.planning import samples_of
from agsm_bench.provenance import provenance
from agsm_bench.scoring.sources import files_in, geneval_root
from agsm_bench.store import Run
from agsm_bench.types import Domain, RunSpec, Sample

ELSEWHERE = "elsewhere"
"""The name of their backbone."""
SHOWN = 3
"""Of a list of names in a message."""
_NAME = re.compile(r"(.*?)(?:[_/](\d{1,4}))?")


@dataclass(frozen=True)
class Images:
    """Files by sample id, and how many a prompt there are at most."""

    files: Mapping[str, Path]
    per_prompt: int


def run_of(
    benchmark: Benchmark, domain: Domain, folder: Path, out: Path, progress: Progress
) -> tuple[Run, list[Sample]]:
    """The images as a run, open for writing, and all its samples, those without an image, too.

    Raises:
        UserError: files of other prompts, names that are no ids, or no PNG files.
        MissingError: no such folder, or no pictures in it.
    """
    prompts = benchmark.prompts(domain)
    images = found(benchmark, [prompt.id for prompt in prompts], folder)
    if root := geneval_root(folder):
        _check_prompts({prompt.id: prompt.text for prompt in prompts}, root)
    samples, size = samples_of(prompts, images.per_prompt), side_of(images.files.values())
    spec = RunSpec(benchmark.name, domain, ELSEWHERE, ELSEWHERE, 0.0, 0, size, 0, images.per_prompt)
    run = Run.create_or_resume(out, spec, len(samples), False, provenance("cpu"))
    missing = [sample for sample in run.missing(samples) if sample.id in images.files]
    for done, sample in enumerate(missing, 1):
        run.add_image(sample, images.files[sample.id].read_bytes())
        progress("copy", done, len(missing))
    return run, samples


def found(benchmark: Benchmark, ids: list[str], folder: Path) -> Images:
    """The files of a folder by sample id; raises as `run_of`."""
    known = {_bare(each): each for each in ids}
    files: dict[str, Path] = {}
    strange = []
    for name, path in files_in(folder).items():
        match = _NAME.fullmatch(name)
        prompt = known.get(_bare(match[1])) if match else None
        whole = known.get(_bare(name))
        if path.suffix.lower() != ".png" or not (prompt or whole):
            strange.append(path.relative_to(folder).as_posix())
            continue
        index = int(match[2] or 0) if match and prompt and not whole else 0
        sample = f"{whole or prompt}/{index:04d}"
        if sample in files:
            raise UserError(f"{files[sample]} and {path} are both {sample}.", "Move one of them away.")
        files[sample] = path
    if strange:
        some = ", ".join(strange[:SHOWN])
        raise UserError(
            f"{len(strange)} of the pictures in {folder} are no PNG files of {benchmark.name}: {some}.",
            f"Name them by the ids of `agsm-bench prompts {benchmark.name} --ids`, or move them away.",
        )
    most = max(int(sample.rpartition("/")[2]) for sample in files) + 1
    return Images(files, max(most, benchmark.images_per_prompt))


def side_of(paths: Iterable[Path]) -> int:
    """The width in pixels of the first that is a picture: pictures to compare with are given at it. 0 if none is."""
    from PIL import Image

    from agsm_bench.images import UNREADABLE

    for path in paths:
        try:
            with Image.open(path) as image:
                return image.width
        except UNREADABLE:  # scored as every other, which says what is wrong with it
            continue
    return 0


def _bare(name: str) -> str:
    """Ids of numbers without their leading zeros, which layouts differ in."""
    return str(int(name)) if name.isdecimal() else name


def _check_prompts(texts: Mapping[str, str], root: Path) -> None:
    """Raises UserError where a folder says that its images are of another prompt than its name."""
    for path in sorted(root.glob("*/metadata.jsonl")):
        expected = texts.get(path.parent.name)
        try:
            said = json.loads(path.read_text("utf-8").splitlines()[0])["prompt"]
        except DAMAGED as error:
            raise UserError(f"{path} is damaged ({type(error).__name__}).", "It holds a line of JSON.") from error
        if expected is not None and said != expected:
            raise UserError(
                f"{path} says '{said}', and prompt {path.parent.name} is '{expected}'.",
                "Use the images of this benchmark's own prompts.",
            )
