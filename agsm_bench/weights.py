"""Where models of photographs lie: in the user's hub cache or on disk. Nothing is downloaded here, and no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agsm_bench.damage import DAMAGED, why
from agsm_bench.errors import MissingError, UserError

INDEX = "model_index.json"
NOT_LOADED = ("feature_extractor", "image_processor", "safety_checker", "image_encoder")
"""Components of a pipeline that are not loaded, or not needed, by the beginning of their names."""
TOKENIZER = "tokenizer"
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))
"""Files that hold one, any of these sets."""
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
"""Modules that components may come from; the last one is diffusers' own name for its safety checker."""
WITHOUT_WEIGHTS = (TOKENIZER, "scheduler", *NOT_LOADED)
"""Those, and the ones that have no weights."""
TOGETHER = "parts"
"""Name of a `Part` that stands for all: what is wrong is that they do not belong together."""
LONGEST_HEADER = 100_000_000
"""Bytes; the limit of the safetensors library."""


@dataclass(frozen=True)
class HubModel:
    """A repository on the hub."""

    repo: str
    gigabytes: float | None = None
    """Of what the download command gets."""
    gated: bool = False
    """Whether its licence is to be accepted on its page first."""
    include: tuple[str, ...] = ()
    """Patterns of the files that are needed; empty: all."""

    def command(self, revision: str | None = None) -> str:
        """What to type to get it."""
        patterns = "".join(f' --include "{pattern}"' for pattern in self.include)
        return f"hf download {self.repo}{f' --revision {revision}' if revision else ''}{patterns}"

    def fix(self, revision: str | None = None) -> str:
        """What to do when it is missing."""
        size = f" ({self.gigabytes:g} GB)" if self.gigabytes else ""
        gate = (
            f"Accept the licence at https://huggingface.co/{self.repo} and log in (hf auth login). "
            if self.gated
            else ""
        )
        return f"{gate}Pass a folder, or get it{size}: {self.command(revision)}"


@dataclass(frozen=True)
class Located:
    """Model files on this machine."""

    path: Path
    """A folder, or one file."""
    name: str
    """What the user or the backbone calls it: a hub id, or the path."""
    commit: str | None
    """Of a hub repository."""
    fix: str
    """What to do where something of it is missing."""

    def describe(self) -> str:
        """For manifests: the hub id with its commit; of a local one its last name, never where it lies."""
        return f"{self.name}@{self.commit}" if self.commit else Path(self.name).name


def locate(source: str | HubModel, revision: str | None = None) -> Located:
    """A hub id in the cache, or a path on disk.

    Raises:
        MissingError: it is neither, with the command that gets it.
        UserError: a path has no revisions.
    """
    if isinstance(source, str) and Path(source).exists():
        if revision:
            raise UserError(f"--revision is for a repository on the hub; {source} is on this machine.", "Leave it out.")
        return Located(Path(source), source, None, f"Mend {source}, or pass another.")
    hub = HubModel(source) if isinstance(source, str) else source
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(hub.repo, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise MissingError(f"{hub.repo} is not in the hub cache.", hub.fix(revision)) from error
    except HFValidationError as error:
        raise MissingError(f"There is no '{hub.repo}' on disk.", "Pass a folder, a file or a hub id.") from error
    return Located(folder, hub.repo, folder.name, hub.fix(revision))


def pipeline_parts(located: Located, leave_out: Sequence[str] = ()) -> dict[str, list[Path]]:
    """The weight files of each component of a diffusers pipeline folder, as `from_pretrained` reads them.

    Raises:
        MissingError: a component's weights are absent, or a tokenizer's vocabulary.
    """
    components = _components(located)
    for name in components:
        if name.startswith(TOKENIZER) and name not in leave_out:
            check_vocabulary(located, name)
    kept = [name for name in components if not name.startswith(WITHOUT_WEIGHTS) and name not in leave_out]
    return {name: model_files(located, name) for name in kept}


def setting_files(located: Located, leave_out: Sequence[str] = ()) -> list[Path]:
    """Of a pipeline folder's scheduler and tokenizers, those that are loaded: settings and vocabularies."""
    names = [
        name for name in _components(located) if name.startswith((TOKENIZER, "scheduler")) and name not in leave_out
    ]
    patterns = ("*.json", "*.txt", "*.model")
    return [file for name in names for pattern in patterns for file in (located.path / name).glob(pattern)]


def check_vocabulary(located: Located, name: str) -> None:
    """Raises MissingError for a tokenizer without: it would load all the same, and know no word."""
    folder = located.path / name
    if not any(all((folder / file).is_file() for file in files) for files in VOCABULARIES):
        raise MissingError(f"The vocabulary of '{name}' of {located.name} is not at {folder}.", located.fix)


def model_files(located: Located, subfolder: str = "") -> list[Path]:
    """The safetensors of one model: of full precision where they are there, else of the fp16 variant.

    Raises:
        MissingError: there are none, or a shard is absent.
    """
    folder = located.path / subfolder
    files = sorted(folder.glob("*.safetensors"))
    # a dot marks a variant, e.g. `.non_ema`, or another format's copy, and diffusers reads the plain name
    plain = [file for file in files if "." not in file.stem]
    chosen = plain or [file for file in files if is_fp16_only([file])]
    if not chosen or not (folder / "config.json").is_file():
        part = f"'{subfolder}' of " if subfolder else ""
        raise MissingError(f"The weights of {part}{located.name} are not at {folder}.", located.fix)
    _check_shards(located, folder, chosen)
    return chosen


@dataclass(frozen=True)
class Part:
    """A component of a model as it is on this machine."""

    name: str
    files: tuple[Path, ...] = ()
    """Its weights; none where something is wrong."""
    problem: MissingError | None = None
    gigabytes: float = 0.0
    """Of what is to be downloaded, where nothing of it is there and the size is known."""


def survey(name: str, find: Callable[[], Sequence[Path]]) -> Part:
    """A component whose files `find` finds, each of which has been looked at; raises nothing."""
    try:
        files = tuple(find())
        for file in files:
            tensors_in(file)
    except MissingError as error:
        return Part(name, problem=error)
    return Part(name, files)


def survey_pipeline(located: Located, leave_out: Sequence[str] = ()) -> list[Part]:
    """Every component of a diffusers pipeline folder that is loaded: its weights, or else its files; raises nothing."""
    try:
        names = [name for name in _components(located) if name not in leave_out and not name.startswith(NOT_LOADED)]
    except MissingError as error:
        return [Part("pipeline", problem=error)]
    return [survey(name, partial(_component_files, located, name)) for name in names]


def _component_files(located: Located, name: str) -> list[Path]:
    if not name.startswith(WITHOUT_WEIGHTS):
        return model_files(located, name)
    if name.startswith(TOKENIZER):
        check_vocabulary(located, name)
    if not any((located.path / name).glob("*")):
        raise MissingError(f"'{name}' of {located.name} is not at {located.path / name}.", located.fix)
    return []


def tensors_in(file: Path) -> dict[str, Any]:
    """The entries of a safetensors file (`dtype`, `shape`, `data_offsets`) by name; reads its header alone.

    Raises:
        MissingError: it cannot be read, or is cut short.
    """
    fix = f"Delete {file} and get it again."
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > LONGEST_HEADER:
                raise ValueError("it does not begin like a safetensors file")
            header = json.loads(stream.read(length))
            size = stream.seek(0, 2) - 8 - length
        header.pop("__metadata__", None)
        for entry in header.values():
            if not all(type(length) is int and length >= 0 for length in (*entry["shape"], *entry["data_offsets"])):
                raise ValueError("a tensor has no shape or place")
        expected = max(entry["data_offsets"][1] for entry in header.values())
    except DAMAGED as error:
        raise MissingError(f"{file} is damaged ({why(error)}).", fix) from error
    if size != expected:
        raise MissingError(f"{file} is damaged: {size:,} bytes of tensors, {expected:,} expected.", fix)
    return header


def read_config(located: Located, component: str, file: str = "config.json") -> dict[str, Any]:
    """The configuration of a pipeline's component.

    Raises:
        MissingError: absent or damaged.
    """
    return _read(located.path / component / file, located)


def is_fp16_only(files: Sequence[Path]) -> bool:
    """Whether these are files of the fp16 variant."""
    return all(".fp16" in file.name for file in files)


def _check_shards(located: Located, folder: Path, files: Sequence[Path]) -> None:
    for index in folder.glob("*.safetensors.index*.json"):
        if (".fp16" in index.name) == is_fp16_only(files):
            listed = _read(index, located).get("weight_map")
            if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
                raise MissingError(f"{index} is damaged: it names no files.", located.fix)
            names = set(listed.values())
            if absent := sorted(names - {file.name for file in files}):
                raise MissingError(f"{folder} lacks {absent[0]}.", located.fix)


def read_index(located: Located) -> dict[str, Any]:
    """What a pipeline's folder is made of.

    Raises:
        MissingError: absent or damaged.
    """
    return _read(located.path / INDEX, located)


def _components(located: Located) -> Mapping[str, Any]:
    lists = {name: entry for name, entry in read_index(located).items() if isinstance(entry, list)}
    if wrong := [name for name, entry in lists.items() if len(entry) != 2]:
        raise MissingError(f"{located.path / INDEX} is damaged: '{wrong[0]}' has no class.", located.fix)
    found = {name: entry for name, entry in lists.items() if entry[0] is not None}
    if foreign := [name for name, (library, _) in found.items() if library not in LIBRARIES]:
        what = f"takes '{foreign[0]}' from '{found[foreign[0]][0]}', and no module that a file names is run"
        raise MissingError(f"{located.path / INDEX} {what}.", "Pass a model without code of its own.")
    return found


def _read(path: Path, located: Located) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it holds no object")
    except FileNotFoundError as error:
        raise MissingError(f"{located.name} has no {path.name} at {path.parent}.", located.fix) from error
    except DAMAGED as error:
        raise MissingError(f"{path} is damaged ({why(error)}).", located.fix) from error
    return data
