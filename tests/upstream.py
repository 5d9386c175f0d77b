"""Upstream's own classes out of packages that do not import whole: single modules, without the packages' `__init__`.

`pip install --no-deps image-reward hpsv2 pytorch-fid` (nox does): their pins would take the environment apart.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def folder_of(package: str) -> Path:
    """Where a package is installed; skips the test without it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed: pip install --no-deps, see noxfile.py")
    return Path(spec.submodule_search_locations[0])


@contextmanager
def bare(package: str, *inner: str, **shims: Any) -> Iterator[None]:
    """Empty packages in place of the real `__init__`s, and modules (`a__b` for a.b) for what is not installed.

    Modules that are imported inside are forgotten afterwards.
    """
    root, before = folder_of(package), dict(sys.modules)
    for name in (package, *(f"{package}.{part}" for part in inner)):
        module = ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module
    for name, members in shims.items():
        dotted = name.replace("__", ".")
        sys.modules[dotted] = ModuleType(dotted)
        vars(sys.modules[dotted]).update(members)
    try:
        yield
    finally:
        for name in set(sys.modules) - set(before):
            if name.startswith((package, *(shim.replace("__", ".") for shim in shims))):
                del sys.modules[name]
        sys.modules.update({name: before[name] for name in before if name.startswith(package)})


def image_reward_class(monkeypatch: pytest.MonkeyPatch) -> Any:
    """image-reward's module ImageReward.py, which has its model, preprocessing and `score`.

    transformers 5 has moved two functions that it imports and dropped three methods that it inherits; fairscale's
    checkpointing is not used.
    """
    import transformers.modeling_utils
    import transformers.pytorch_utils

    for name in ("apply_chunking_to_forward", "prune_linear_layer"):
        moved = getattr(transformers.pytorch_utils, name)
        monkeypatch.setattr(transformers.modeling_utils, name, moved, raising=False)
    monkeypatch.setattr(transformers.modeling_utils, "find_pruneable_heads_and_indices", None, raising=False)
    fairscale = {"fairscale__nn__checkpoint__checkpoint_activations": {"checkpoint_wrapper": None}}
    with bare("ImageReward", "models", "models.BLIP", **fairscale):
        module = importlib.import_module("ImageReward.ImageReward")
        tower = importlib.import_module("ImageReward.models.BLIP.med").BertModel
        module.pretrain = importlib.import_module("ImageReward.models.BLIP.blip_pretrain")
        module.vit = importlib.import_module("ImageReward.models.BLIP.vit")
    tower.init_weights = lambda self: None
    tower.get_head_mask = lambda self, mask, layers: [None] * layers
    tower.invert_attention_mask = lambda self, mask: (1 - mask[:, None, None, :].float()) * -1e9
    return module
