"""Other people's checkpoints into our networks, key by key: what does not fit is named, never made up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsm_bench.damage import why
from agsm_bench.errors import MissingError
from agsm_bench.pickles import load_pickle

if TYPE_CHECKING:
    from torch import Tensor, nn


def read_state(path: Path) -> dict[str, Any]:
    """The contents of a `.pt`, `.pth`, `.bin` or `.safetensors` file, on the CPU; no code of it runs.

    Raises:
        MissingError: it is damaged, or holds more than tensors and plain values.
    """
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = load_pickle(path, "cpu")
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
    except Exception as error:  # a pickle that is damaged or hostile raises anything at all
        raise MissingError(f"{path} holds no weights ({why(error)}).", f"Delete {path} and get it again.") from error
    return found


def fill(network: nn.Module, state: Mapping[str, Tensor], path: Path, *, ignored: tuple[str, ...] = ()) -> None:
    """Loads tensors that are named as the network's own; keys that begin like one of `ignored` may be left over.

    Raises:
        MissingError: a tensor is missing, has another shape, or is left over.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in state]
    left = [key for key in state if key not in own and not key.startswith(ignored)]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    wrong = None
    if missing:
        wrong = f"it lacks {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
    elif shapes:
        key = shapes[0]
        wrong = f"{key} is {list(state[key].shape)}, and {list(own[key].shape)} is expected"
    elif left:
        wrong = f"it has {left[0]}, which the model has not"
    if wrong:
        raise MissingError(f"{path.name} is the checkpoint of another model: {wrong}.", f"Get {path} again.")
    network.load_state_dict({key: state[key] for key in own})
