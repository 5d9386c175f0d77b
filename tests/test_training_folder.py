"""A training's folder: one writer, one configuration, and a state to go on from."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import job, log_of, silent

from agsm_bench.errors import MissingError, UserError
from agsm_bench.locking import alone
from agsm_bench.training.run import LOCK, run_training
from agsm_bench.training.state import STATE_FILE, load_state, save_state


def run(out: Path, **options: Any) -> Path:
    made = job(out, **options)
    return run_training("agsm", made.trainer, made.backbone, made.options, made.objective_options, out, silent)


def test_a_folder_of_another_configuration_is_refused(tmp_path: Path) -> None:
    path = run(tmp_path, steps=1)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"batch was 4, now 2.*--out"):
        run(tmp_path, steps=1, batch=2)
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_whoever_may_read_the_tokens_may_read_the_state(tmp_path: Path) -> None:
    tokens = run(tmp_path, steps=1)
    assert (tmp_path / STATE_FILE).stat().st_mode == tokens.stat().st_mode


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with (
        alone(tmp_path / LOCK, tmp_path),
        pytest.raises(UserError, match=r"is being written by process \d+ on .*--out"),
    ):
        run(tmp_path, steps=1)
    run(tmp_path, steps=1)


def test_the_record_names_the_device(tmp_path: Path) -> None:
    made = job(tmp_path, steps=1)
    backbone = replace(made.backbone, device=lambda: "cuda: Some GPU")
    run_training("agsm", made.trainer, backbone, made.options, made.objective_options, tmp_path, silent)
    assert json.loads((tmp_path / "config.json").read_text())["provenance"]["device"] == "cuda: Some GPU"


def test_float16s_loss_scale_is_kept(tmp_path: Path) -> None:
    """A training that goes on would else overflow or round away its gradients until the scale is found again."""
    weights = {"w": torch.nn.Parameter(torch.ones(2))}
    optimizer, scalers = torch.optim.AdamW(weights.values()), [torch.amp.GradScaler("cpu") for _ in range(2)]
    for gradient in (1.0, float("inf"), 1.0):
        scalers[0].scale((weights["w"] * gradient).sum()).backward()
        scalers[0].step(optimizer)
        scalers[0].update()
        optimizer.zero_grad()
    assert scalers[0].get_scale() == 2.0**15
    save_state(tmp_path / STATE_FILE, 3, weights, {}, optimizer, scalers[0])
    assert load_state(tmp_path / STATE_FILE, weights, {}, optimizer, scalers[1]) == 3
    scalers[1].scale(torch.ones(1))  # from here on it is in use
    assert scalers[1].state_dict() == scalers[0].state_dict()


def test_a_damaged_state_is_refused_and_kept(tmp_path: Path) -> None:
    run(tmp_path, steps=1)
    state = tmp_path / "training_state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(MissingError, match="damaged"):
        run(tmp_path, steps=2)
    assert len(state.read_bytes()) == 1000


def test_keeping_tokens_may_begin_later(tmp_path: Path) -> None:
    run(tmp_path, steps=1)
    run(tmp_path, steps=2, keep_every=2)
    assert [path.name for path in (tmp_path / "steps").iterdir()] == ["000002"]


def test_tokens_that_can_no_longer_be_kept_are_named(tmp_path: Path) -> None:
    run(tmp_path, steps=3)
    with pytest.raises(UserError, match=r"gone on to step 3 without keeping the tokens of step 2"):
        run(tmp_path, steps=4, keep_every=2)


def test_fewer_steps_than_are_done_are_refused(tmp_path: Path) -> None:
    """What is saved would be the tokens of step 2 in the name of step 1."""
    run(tmp_path, steps=2)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(UserError, match=r"gone on to step 2\. Use --steps 2 or more"):
        run(tmp_path, steps=1)
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_training_that_never_began_holds_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="layers"):
        run(tmp_path, steps=1, layers=99)
    run(tmp_path, steps=1, layers=2)
    assert json.loads((tmp_path / "config.json").read_text())["training"]["layers"] == 2


@pytest.mark.parametrize("content", [{"training": []}, {"training": "x"}, {"_class_name": "UNet2DConditionModel"}])
@pytest.mark.parametrize("begun", [True, False])
def test_a_damaged_configuration_is_named_and_somebody_elses_stays(
    tmp_path: Path, content: object, begun: bool
) -> None:
    if begun:
        run(tmp_path, steps=1)
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(MissingError, match=r"config\.json is damaged, or no training's.*--out"):
        run(tmp_path, steps=2)
    assert json.loads((tmp_path / "config.json").read_text()) == content


def test_tokens_that_were_kept_before_the_first_checkpoint_are_a_beginning(tmp_path: Path) -> None:
    run(tmp_path, steps=2, keep_every=1)
    for name in (STATE_FILE, "soft_tokens.safetensors"):
        (tmp_path / name).unlink()
    with pytest.raises(UserError, match="another configuration"):
        run(tmp_path, steps=2, keep_every=1, learning_rate=0.5)


@pytest.mark.parametrize("line", ["garbage", "{}", "7", '{"step": "x"}', '{"step": Infinity}'])
def test_a_damaged_log_is_named_and_kept(tmp_path: Path, line: str) -> None:
    run(tmp_path, steps=3)
    log = tmp_path / "train.jsonl"
    first, _, *rest = log.read_text().splitlines()
    log.write_text("\n".join([first, line, *rest]) + "\n")
    before = log.read_bytes()
    with pytest.raises(MissingError, match=r"train\.jsonl line 2 is damaged"):
        run(tmp_path, steps=4)
    assert log.read_bytes() == before


def test_a_log_that_lacks_steps_is_named(tmp_path: Path) -> None:
    """Its curve would have a hole."""
    run(tmp_path, steps=2)
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(MissingError, match=r"train\.jsonl has 0 lines for 2 steps"):
        run(tmp_path, steps=3)


def test_a_training_of_no_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--tokens is 0"):
        run(tmp_path, steps=1, tokens=0)
    assert not tmp_path.joinpath("config.json").exists()


def test_more_steps_go_on(tmp_path: Path) -> None:
    run(tmp_path, steps=1)
    run(tmp_path, steps=2)
    assert [r["step"] for r in log_of(tmp_path)] == [1, 2]


def test_an_option_that_came_later_does_not_estrange_earlier_runs(tmp_path: Path) -> None:
    assert "mixed_precision" not in job(tmp_path).describe()
    assert job(tmp_path, mixed_precision="bf16").describe()["mixed_precision"] == "bf16"
