"""Gets the weight files of metrics and detectors: from the hub into its cache, else into torch's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agsm_bench import plugins
from agsm_bench.errors import MissingError
from agsm_bench.scoring.selection import checked_names
from agsm_bench.weight_files import WeightFile, checkpoints_folder


def weights_of(names: Sequence[str]) -> dict[str, tuple[WeightFile, ...]]:
    """Files by name, of metrics (full names) and of detectors; raises UserError for a name of neither."""
    detectors = set(plugins.names("detectors"))
    variants = checked_names([name for name in names if name not in detectors])
    return {
        name: plugins.load("detectors", name).weights if name in detectors else variants[name].weights for name in names
    }


def get(weight: WeightFile) -> Path:
    """The file, downloaded unless it is there.

    Raises:
        MissingError: it cannot be reached, or is another file by now.
    """
    there = weight.located()
    if there is not None:
        return there
    try:
        return _from_hub(weight) if weight.repo else _from_web(weight)
    except MissingError:
        raise
    except Exception as error:  # hub, HTTP and socket libraries have dozens of their own
        reason = str(error).strip().partition("\n")[0]
        raise MissingError(
            f"{weight.source} cannot be downloaded ({type(error).__name__}: {reason}).",
            "Look at the connection and HF_HUB_OFFLINE, and run the same command again.",
        ) from error


def _from_hub(weight: WeightFile) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(str(weight.repo), weight.file, revision=weight.revision))


def _from_web(weight: WeightFile) -> Path:
    from torch.hub import download_url_to_file

    if weight.url is None:
        raise MissingError(f"{weight.file} is at no address that is known.", f"Put it into {checkpoints_folder()}.")
    path = checkpoints_folder() / weight.file
    path.parent.mkdir(parents=True, exist_ok=True)
    download_url_to_file(weight.url, str(path), hash_prefix=weight.sha256, progress=True)
    return path
