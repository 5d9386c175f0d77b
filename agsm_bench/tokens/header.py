"""What a soft tokens file says about itself, read and written without torch.

The file is an ordinary safetensors file: 8 bytes (little-endian length of the header), the header as JSON,
then the raw tensors. Its `__metadata__` holds the format and its version, the configurations of the tokens
and of the training, a hash of each, and the version of the package that wrote it. The bytes are laid out here
rather than by the safetensors library, which orders the metadata differently in every process: equal tokens
are to be equal files.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from agsm_bench import __version__
from agsm_bench.damage import DAMAGED
from agsm_bench.errors import MissingError, UserError

TOKENS_FILE = "soft_tokens.safetensors"
FORMAT = "agsm-bench soft tokens"
FORMAT_VERSION = 1
TIMESTEPS = 1000
"""Length of the noise schedule that the time bins divide."""

_LATER = {"image_count": 0, "text_dim": 0}
"""Fields that came after the first files, and the least values, which have no effect."""
_LARGEST_HEADER = 16 * 2**20
_FIX = "Train tokens with `agsm-bench train TRAINER --backbone NAME --out DIR`, or pass another path."


@dataclass(frozen=True)
class TokensConfig:
    """Shape and place of a set of soft tokens. Wrong values raise `UserError`."""

    backbone: str
    """Name of the backbone they were trained on, e.g. `sd3`."""
    placement: Literal["unet", "mmdit"]
    """`unet`: in the cross-attention context, after BOS. `mmdit`: in the text of the first blocks."""
    dim: int
    """Width: the UNet's `cross_attention_dim`, or the MMDiT's `caption_projection_dim`."""
    count: int = 4
    """Tokens per block; 0 leaves the model untouched."""
    layers: int = 1
    """mmdit: how many of the first blocks get tokens, each its own (SD3: 5). unet: 1, shared by all."""
    apply: tuple[bool, bool, bool] = (True, True, False)
    """unet: which of the (down, mid, up) blocks get them; SoftREPA's released SD1.5 used down only."""
    polarities: int = 2
    """AGSM: 2, psi+ is index 0 and psi- index 1. SoftREPA: 1."""
    time_bins: int = 100
    """Rows of the time embedding; each covers 1000 / time_bins steps."""
    time_dependent: bool = True
    """Whether the tokens have a time embedding at all."""
    image_count: int = 0
    """mmdit: further tokens per block, in the image's sequence (paper Table 12, "4 / 4")."""
    text_dim: int = 0
    """mmdit: width of tokens that first go through the model's frozen `context_embedder`, as its text does; the
    time embedding is added behind it. SoftREPA's code: 4096. 0: they live behind it, `dim` wide."""

    def __post_init__(self) -> None:
        lowest = {"dim": 1, "count": 0, "layers": 1, "polarities": 1, "time_bins": 1}
        for name, least in (lowest | _LATER).items():
            value = getattr(self, name)
            if type(value) is not int or value < least:
                _refuse(f"{name} is {value!r}", f"Use a whole number of at least {least}.")
        if self.placement not in ("unet", "mmdit"):
            _refuse(f"placement is {self.placement!r}", "Use `unet` or `mmdit`.")
        if self.time_bins > TIMESTEPS:
            _refuse(f"time_bins is {self.time_bins}", f"Use at most {TIMESTEPS}.")
        if self.placement == "unet" and self.layers != 1:
            _refuse(f"layers is {self.layers}", "A UNet's blocks share one set: use 1.")
        if self.placement == "unet" and self.image_count:
            _refuse(f"image_count is {self.image_count}", "Only an MMDiT has an image sequence that takes tokens.")
        if self.placement == "unet" and self.text_dim:
            _refuse(f"text_dim is {self.text_dim}", "Only an MMDiT has a context_embedder.")
        if len(self.apply) != 3 or any(type(flag) is not bool for flag in self.apply):
            _refuse(f"apply is {self.apply!r}", "Use three booleans for the down, mid and up blocks.")
        if self.placement == "unet" and self.count and not any(self.apply):
            _refuse("apply selects no block", "Switch on the down, mid or up blocks, or use a count of 0.")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, by name and in order of name."""
        per_layer = (self.layers,) if self.placement == "mmdit" else ()
        width = self.text_dim or self.dim
        shapes: dict[str, tuple[int, ...]] = {"base": (self.polarities, *per_layer, self.count, width)}
        if self.image_count:
            shapes["image"] = (self.polarities, self.layers, self.image_count, self.dim)
        if self.time_dependent:
            times = (self.time_bins, self.layers * self.dim)
            shapes |= {"image_time": times, "time": times} if self.image_count else {"time": times}
        return shapes


@dataclass(frozen=True)
class TokensHeader:
    """Everything that a soft tokens file says about itself."""

    config: TokensConfig
    training: Mapping[str, Any]
    """The training's configuration, as given to `save_tokens`."""
    config_hash: str
    """SHA-256 of the canonical JSON of `training`, hex."""
    tokens_hash: str
    """SHA-256 of the configuration and the tensors, hex; the training plays no part."""
    package_version: str
    """The version of agsm-bench that wrote the file."""


def tokens_file(path: str | Path) -> Path:
    """The file meant by `path`: itself if it ends in `.safetensors`, else the tokens file of that folder."""
    path = Path(path)
    return path if path.suffix == ".safetensors" and not path.is_dir() else path / TOKENS_FILE


def read_header(path: str | Path) -> TokensHeader:
    """Read and check a file's header alone; imports no torch and reads no tensor.

    Args:
        path: the file, or the folder that holds `soft_tokens.safetensors`.

    Raises:
        MissingError: the file is absent, damaged, or not a soft tokens file.
    """
    file = tokens_file(path)
    try:
        with file.open("rb") as stream:
            length = _header_length(stream.read(8), file)
            header = stream.read(length)
            size = stream.seek(0, 2) - 8 - length
    except OSError as error:
        raise _unreadable(file, error) from error
    return _parse(header, size, file)


def read_verified(path: str | Path) -> tuple[TokensHeader, bytes]:
    """The header and all the bytes of a file whose tensors match their hash. Raises as `read_header`."""
    header = read_header(path)
    file = tokens_file(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error
    # The values need no look-up of offsets: `_parse` has checked that they lie in order of name without gaps.
    values = data[8 + _header_length(data[:8], file) :]
    if _digest(header.config, values) != header.tokens_hash:
        raise _damaged(file, "its tensors do not match their hash")
    return header, data


def tokens_hash(path: str | Path) -> str:
    """SHA-256 (hex) of a file's tensors and configuration, recomputed from its bytes.

    Two trainings that end in the same tokens share it. Raises as `read_header`.
    """
    return read_verified(path)[0].tokens_hash


def canonical_json(value: Mapping[str, Any]) -> str:
    """One spelling per value: sorted keys, no spaces, ASCII, no NaN (`ValueError`)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def pack(config: TokensConfig, tensors: Mapping[str, bytes], training: Mapping[str, Any]) -> bytes:
    """The bytes of a soft tokens file.

    Args:
        config: decides the names and shapes of the tensors.
        tensors: little-endian float32 values by name, as many as `config.shapes` says.
        training: the training's configuration; anything that JSON can hold.
    """
    values = b"".join(tensors[name] for name in config.shapes)
    text = canonical_json(training)
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "tokens_config": _config_json(config),
        "tokens_hash": _digest(config, values),
        "training_config": text,
        "config_hash": hashlib.sha256(text.encode()).hexdigest(),
        "package_version": __version__,
    }
    header = canonical_json({"__metadata__": metadata, **_slots(config)}).encode()
    header += b" " * (-len(header) % 8)  # the tensors start on a multiple of 8, as the library's do
    return len(header).to_bytes(8, "little") + header + values


def _slots(config: TokensConfig) -> dict[str, dict[str, Any]]:
    """The header's entry for each tensor: float32, one after the other in order of name."""
    slots: dict[str, dict[str, Any]] = {}
    start = 0
    for name, shape in config.shapes.items():
        end = start + 4 * math.prod(shape)
        slots[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
        start = end
    return slots


def _digest(config: TokensConfig, values: bytes) -> str:
    return hashlib.sha256(_config_json(config).encode() + b"\n" + values).hexdigest()


def _config_json(config: TokensConfig) -> str:
    """What came after the first files is left out while it has no effect, so that their hashes stay true."""
    return canonical_json({name: value for name, value in asdict(config).items() if value or name not in _LATER})


def _header_length(prefix: bytes, file: Path) -> int:
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or not 2 <= length <= _LARGEST_HEADER:
        raise _damaged(file, "it does not begin like a safetensors file")
    return length


def _parse(raw: bytes, size: int, file: Path) -> TokensHeader:
    """Check a header against the size in bytes of what follows it."""
    try:
        entries = json.loads(raw)
    except DAMAGED as error:
        raise _damaged(file, "its header is not JSON") from error
    metadata = entries.pop("__metadata__", None) if isinstance(entries, dict) else None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise MissingError(f"{file} is not a soft tokens file.", _FIX)
    if metadata.get("format_version") != str(FORMAT_VERSION):
        version = metadata.get("format_version")
        raise MissingError(f"{file} is in format version {version!r}.", "Upgrade agsm-bench to read it.")
    header = _parse_metadata(metadata, file)
    slots = _slots(header.config)
    if entries != slots:
        raise _damaged(file, "its tensors are not those of its configuration")
    if size != max(slot["data_offsets"][1] for slot in slots.values()):
        raise _damaged(file, "it is cut short or too long")
    return header


def _parse_metadata(metadata: Mapping[str, Any], file: Path) -> TokensHeader:
    try:
        config = _parse_config(json.loads(metadata["tokens_config"]))
        text = metadata["training_config"]
        training = json.loads(text)
        hashes = {name: str(metadata[name]) for name in ("config_hash", "tokens_hash", "package_version")}
        intact = hashlib.sha256(text.encode()).hexdigest() == hashes["config_hash"]
    except (*DAMAGED, UserError) as error:
        raise _damaged(file, "its description cannot be read") from error
    if not intact or not isinstance(training, dict):
        raise _damaged(file, "its training configuration does not match its hash")
    return TokensHeader(config, training, **hashes)


def _parse_config(values: Mapping[str, Any]) -> TokensConfig:
    values = {**_LATER, **values}
    if set(values) != {field.name for field in fields(TokensConfig)}:
        raise ValueError("other fields")
    config = TokensConfig(**{**values, "apply": cast(Any, tuple(values["apply"]))})
    if not isinstance(config.backbone, str) or not isinstance(config.time_dependent, bool):
        raise TypeError("other types")
    return config


def _unreadable(file: Path, error: OSError) -> MissingError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return MissingError(f"there are no soft tokens at {file}.", _FIX)
    return MissingError(f"{file} cannot be read ({error.strerror}).", _FIX)


def _damaged(file: Path, detail: str) -> MissingError:
    return MissingError(f"{file} is damaged: {detail}.", _FIX)


def _refuse(problem: str, fix: str) -> NoReturn:
    raise UserError(f"soft tokens: {problem}.", fix)
