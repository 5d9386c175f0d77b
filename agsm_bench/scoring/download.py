"""Gets the weight files of metrics and detectors: from the hub into its cache, else into torch's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agsm_bench import plugins
from agsm_bench.data.places import ShowProgress
from agsm_bench.errors import MissingError, UserError
from agsm_bench.faults import UNWRITABLE, advice
from agsm_bench.identity import read_hash
from agsm_bench.locking import alone
from agsm_bench.scoring.selection import checked_names
from agsm_bench.weight_files import WeightFile, checkpoints_folder


def weights_of(names: Sequence[str]) -> dict[str, tuple[WeightFile, ...]]:
    """Files by name, of metrics (full names) and of detectors; raises UserError for a name of neither."""
    detectors = set(plugins.names("detectors"))
    variants = checked_names([name for name in names if name not in detectors])
    return {
        name: plugins.load("detectors", name).weights if name in detectors else variants[name].weights for name in names
    }


def get(weight: WeightFile, show: ShowProgress = lambda *_: None) -> Path:
    """The file, downloaded unless it is there; `show` is told of the progress.

    Raises:
        MissingError: it cannot be reached, or is another file by now.
        UserError: another process gets it, or there is no room.
    """
    there = weight.located()
    if there is not None:
        return there
    try:
        return _from_hub(weight) if weight.repo else _from_web(weight, show)
    except UserError:
        raise
    except Exception as error:  # hub, HTTP and socket libraries have dozens of their own
        reason = str(error).strip().partition("\n")[0]
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            elsewhere = "set HF_HOME (of the hub) or TORCH_HOME to another folder"
            raise UserError(f"{weight.source} cannot be kept ({reason}).", advice(error.errno, elsewhere)) from error
        raise MissingError(
            f"{weight.source} cannot be downloaded ({type(error).__name__}: {reason}).",
            "Look at the connection and HF_HUB_OFFLINE, and run the same command again.",
        ) from error


def _from_hub(weight: WeightFile) -> Path:
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download(str(weight.repo), weight.file, revision=weight.revision))
    blob = path.resolve()
    # the hub names large files by their SHA-256, and its client compares sizes only
    if len(blob.name) == 64 and read_hash(blob) != blob.name:
        blob.unlink()
        path.unlink()
        raise MissingError(f"{weight.source} arrived damaged.", "Run the same command again.")
    return path


def _from_web(weight: WeightFile, show: ShowProgress) -> Path:
    from agsm_bench.data.download import download, size_of

    if weight.url is None:
        raise MissingError(f"{weight.file} is at no address that is known.", f"Put it into {checkpoints_folder()}.")
    path = checkpoints_folder() / weight.file
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.with_name(f".{path.name}.lock"), path, "Wait until it ends."):
        part = path.with_name(f"{path.name}.part")
        download(weight.url, part, size_of(weight.url), show)
        expected = weight.sha256 or ""
        if not (found := read_hash(part)).startswith(expected):
            part.unlink()
            raise MissingError(
                f"{weight.url} is another file by now: its SHA-256 begins with {found[:8]}, not with {expected[:8]}.",
                f"Put {weight.file} into {path.parent} yourself.",
            )
        part.replace(path)
    return path
