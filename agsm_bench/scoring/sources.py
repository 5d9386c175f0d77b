"""Anybody's images to items: GenEval's folder layout, a folder with a file of prompts, a parquet file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agsm_bench.benchmark import Read
from agsm_bench.damage import DAMAGED, why
from agsm_bench.errors import MissingError, UserError
from agsm_bench.scoring.items import Item, reader

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
PROMPT_COLUMNS = ("prompt", "caption", "text")
FILE_COLUMNS = ("file", "file_name", "filename", "image", "image_path", "path")


def files_in(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by id: `PROMPT/INDEX` in GenEval's layout or a run, else the name without its suffix.

    Raises:
        MissingError: there is no such folder, or no picture in it.
        UserError: two files of one name.
    """
    if not folder.is_dir():
        raise MissingError(f"There is no folder {folder}.", "Name a folder of pictures.")
    geneval = geneval_root(folder)
    paths = sorted(geneval.glob("*/samples/*")) if geneval else sorted(folder.rglob("*"))
    found: dict[str, Path] = {}
    for path in (p for p in paths if p.suffix.lower() in SUFFIXES):
        name = f"{path.parts[-3]}/{path.stem}" if geneval else path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise UserError(
                f"{found[name].name} and {path.name} in {path.parent} have one name.", "Rename one of them."
            )
        found[name] = path
    if not found:
        raise MissingError(f"{folder} holds no pictures.", f"It takes {', '.join(SUFFIXES)}.")
    return found


def geneval_root(folder: Path) -> Path | None:
    """The folder with `NNNNN/metadata.jsonl`: this one, or `images` of a run's; None in another layout."""
    for root in (folder, folder / "images"):
        if next(root.glob("*/metadata.jsonl"), None):
            return root
    return None


def read_items(
    images: Path, prompts: Path | None, references: Path | None = None, masks: Path | None = None
) -> list[Item]:
    """The items of `--images`, with the prompts of `--prompts` and the pictures of the same id in other folders.

    Without `prompts`, and outside GenEval's layout, items have no prompt.

    Raises:
        UserError: prompts that do not fit the images.
        MissingError: a file or folder that is absent or damaged.
    """
    if images.suffix == ".parquet":
        items = _from_parquet(images)
        if prompts:
            raise UserError(f"{images} has its own prompts.", "Leave out --prompts.")
    else:
        items = _from_folder(images, prompts)
    if references:
        items = [replace(item, reference=read) for item, read in _paired(items, references)]
    if masks:
        items = [replace(item, mask=read) for item, read in _paired(items, masks)]
    return items


def _paired(items: Sequence[Item], folder: Path) -> Iterator[tuple[Item, Read]]:
    """Each item with the file of its id; without one it reads an absent file, and is unscored for that reason."""
    files = files_in(folder)
    for item in items:
        yield item, reader(files.get(item.id, folder / f"{item.id}.png"))


def _from_folder(folder: Path, prompts: Path | None) -> list[Item]:
    files = files_in(folder)
    root = geneval_root(folder)
    if root and prompts is None:
        texts = {path.parent.name: _geneval_prompt(path) for path in root.glob("*/metadata.jsonl")}
        return [_item(name, path, texts.get(path.parts[-3]), path.parts[-3]) for name, path in files.items()]
    if prompts is None:
        return [_item(name, path, None, name) for name, path in files.items()]
    return list(_joined(files, folder, prompts))


def _item(name: str, path: Path, prompt: str | None, cluster: str) -> Item:
    return Item(name, reader(path), prompt, cluster=cluster)


def _geneval_prompt(path: Path) -> str:
    try:
        return _text(json.loads(path.read_text("utf-8").splitlines()[0])["prompt"])
    except DAMAGED as error:
        raise MissingError(
            f"{path} is damaged ({type(error).__name__}).", "It holds one line of JSON with `prompt`."
        ) from error


def _joined(files: Mapping[str, Path], folder: Path, prompts: Path) -> Iterator[Item]:
    rows = read_prompts(prompts)
    column = next((name for name in FILE_COLUMNS if rows and name in rows[0]), None)
    if column is None:
        if len(rows) != len(files):
            raise UserError(
                f"{prompts} has {len(rows)} prompts, and {folder} has {len(files)} pictures.",
                f"Give one prompt a picture in the order of their names, or a column `{FILE_COLUMNS[0]}`.",
            )
        for (name, path), row in zip(files.items(), rows, strict=True):
            yield _item(name, path, row["prompt"], row["prompt"])
        return
    named = {_without_suffix(row.get(column) or "", prompts): row for row in rows}
    if len(named) < len(rows):
        raise UserError(f"{prompts} names a picture twice.", f"Give each line its own `{column}`.")
    if strange := [name for name in files if name not in named]:
        raise UserError(
            f"{len(strange)} of {len(files)} pictures in {folder} have no line in {prompts}, first {strange[0]}.",
            "Add them, or move them away.",
        )
    for name, row in named.items():
        yield _item(name, files.get(name, folder / row[column]), row["prompt"], row["prompt"])


def _without_suffix(name: str, prompts: Path) -> str:
    if not Path(name).name:
        raise UserError(f"A line of {prompts} names no picture.", "Give each line its file.")
    return Path(name).with_suffix("").as_posix()


def read_prompts(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV, JSONL or text file, each with `prompt`.

    Raises:
        MissingError: absent or damaged.
        UserError: another kind of file, or no column of prompts.
    """
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".txt": _lines}
    if path.suffix not in readers:
        raise UserError(f"--prompts is {path}.", f"Use a file that ends in {', '.join(readers)}.")
    try:
        rows = readers[path.suffix](path)
    except (*DAMAGED, csv.Error) as error:
        raise MissingError(f"{path} cannot be read ({why(error)}).", "Name a file of prompts in UTF-8.") from error
    column = next((name for name in PROMPT_COLUMNS if rows and name in rows[0]), None)
    if column is None:
        raise UserError(f"{path} has no column `{PROMPT_COLUMNS[0]}`.", f"Name one of: {', '.join(PROMPT_COLUMNS)}.")
    try:
        return [{**row, "prompt": str(row[column])} for row in rows]
    except KeyError as error:
        raise UserError(f"A line of {path} has no `{column}`.", "Give each line its prompt.") from error


def _csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))


def _jsonl(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line holds no object")
    return [{key: _text(value) for key, value in row.items()} for row in rows]


def _text(value: Any) -> str:
    """As a text that can be written; raises ValueError for half a character, which JSON can hold."""
    text = str(value)
    text.encode()
    return text


def _lines(path: Path) -> list[dict[str, Any]]:
    return [{"prompt": line} for line in path.read_text("utf-8").splitlines()]


def _from_parquet(path: Path) -> list[Item]:
    """Columns `image` (bytes, or the hub's {bytes, path}) and a column of prompts; `reference` and `mask` alike."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, ArrowException) as error:
        raise MissingError(f"{path} cannot be read ({str(error).splitlines()[0]}).", "Name a parquet file.") from error
    if not rows or "image" not in rows[0]:
        raise UserError(f"{path} has no column `image`.", "It holds the bytes of PNG or JPEG files.")
    column = next((name for name in PROMPT_COLUMNS if name in rows[0]), None)
    items = []
    for number, row in enumerate(rows):
        parts = {name: reader(data) for name in ("reference", "mask") if (data := _cell(row.get(name))) is not None}
        prompt = row[column] if column else None
        image = reader(_cell(row["image"]) or b"")
        items.append(Item(f"{number:06d}", image, prompt, cluster=prompt or str(number), **parts))
    return items


def _cell(value: Any) -> bytes | None:
    data = value.get("bytes") if isinstance(value, dict) else value
    return data if isinstance(data, bytes) else None
