"""`--compile`: the same numbers, with soft tokens attached before and after."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from photo_tiny import MAKERS, SIZE, save_tiny
from PIL import Image
from tokens_tiny import inputs_for, tiny_mmdit, tiny_unet, tokens_for

from agsm_bench.diffusion import compiling
from agsm_bench.diffusion.compiling import blocks, check_compiler, compile_blocks
from agsm_bench.errors import MissingError

MODELS = {"unet": tiny_unet, "mmdit": tiny_mmdit}


@pytest.fixture
def traced() -> Any:
    """A dynamo backend that runs what it is given, and counts it."""
    torch._dynamo.reset()
    graphs: Counter[str] = Counter()

    def backend(graph: Any, _: object) -> Any:
        graphs["traced"] += 1
        return graph.forward

    backend.graphs = graphs  # type: ignore[attr-defined]
    return backend


@pytest.mark.parametrize("placement", MODELS)
def test_a_compiled_network_sees_tokens_come_and_go(placement: str, traced: Any) -> None:
    plain, model, tokens = MODELS[placement](), MODELS[placement](), tokens_for(placement)
    compile_blocks(model, backend=traced)
    inputs = inputs_for(placement) | {"timestep": torch.tensor([500, 500])}
    with torch.no_grad():
        for polarity in (None, 0, 1, None):
            expected, found = (_forward(each, tokens, polarity, inputs) for each in (plain, model))
            torch.testing.assert_close(found, expected)
    assert traced.graphs["traced"] >= len(blocks(model)) - 1


def _forward(model: Any, tokens: Any, polarity: int | None, inputs: dict[str, Any]) -> torch.Tensor:
    if polarity is None:
        output: torch.Tensor = model(**inputs).sample
        return output
    with tokens.attached(model, polarity=polarity):
        output = model(**inputs).sample
        return output


@pytest.mark.parametrize(("placement", "checkpointing"), [("unet", False), ("mmdit", True)])
def test_gradients_of_tokens_through_a_compiled_network(placement: str, checkpointing: bool, traced: Any) -> None:
    gradients = []
    for compiled in (False, True):
        model, tokens = MODELS[placement]().train(), tokens_for(placement)
        if compiled:
            compile_blocks(model, backend=traced)
        if checkpointing:
            model.enable_gradient_checkpointing()
        with tokens.attached(model):
            model(**inputs_for(placement), timestep=torch.tensor([3, 700])).sample.square().mean().backward()
        gradients.append({name: value.grad for name, value in tokens.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0])
    assert traced.graphs["traced"]


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "COMPILERS", ("no-such-compiler",))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(MissingError, match=r"needs a C\+\+ compiler.*leave --compile out"):
        check_compiler("cpu")


def test_a_compiler_that_fails_is_named() -> None:
    def broken(graph: Any, inputs: object) -> Any:
        raise RuntimeError("Python.h: no such file")

    torch._dynamo.reset()
    model = tiny_unet()
    compile_blocks(model, backend=broken)
    with pytest.raises(MissingError, match=r"--compile failed .*Python.h.*leave --compile out"):
        model(**inputs_for("unet"), timestep=torch.tensor([3, 700]))


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, compiling.COMPILERS)), reason="no C++ compiler")
@pytest.mark.parametrize("name", MAKERS)
def test_the_command(cli: Cli, tmp_path: Path, name: str) -> None:
    """With inductor: kernels round differently, so the pixels may differ by little."""
    folder = save_tiny(name, tmp_path)
    small = ["--limit", 1, "--images-per-prompt", 1, "--steps", 2, "--size", SIZE, "--device", "cpu"]
    images = []
    for out, more in (("eager", []), ("compiled", ["--compile"])):
        command = ["eval", "geneval", "--backbone", name, "--model", folder, *small, *more]
        code, _, error = cli(*command, "--metrics", "none", "--out", tmp_path / out)
        assert code == 0, error
        with Image.open(next((tmp_path / out).rglob("*.png"))) as image:
            images.append(np.asarray(image).astype(int))
    assert abs(images[0] - images[1]).max() <= 2
