"""Trackers hear what train.jsonl says, also across a resume."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, on_main_process
from conftest import Cli

from agsm_bench.errors import MissingError
from agsm_bench.training.log import LOG_FILE, read
from agsm_bench.training.tracking import tracked

AGSM = ("train", "agsm", "--batch", 2, "--save-every", 1)


@pytest.mark.parametrize("tracker", ["tensorboard", "trackio", "wandb"])
def test_a_missing_package_is_named_before_anything_loads(cli: Cli, tmp_path: Path, tracker: str) -> None:
    if find_spec(tracker):
        pytest.skip(f"{tracker} is installed")
    out = tmp_path / "run"
    code, _, err = cli(*AGSM, "--tracker", tracker, "--out", out)
    assert (code, f"pip install {tracker}" in err, out.exists()) == (3, True, False)


def test_tensorboard_hears_every_line_once(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call begins at step 1 of 3: it was killed before it saved the next checkpoint."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr("agsm_bench.training.validation.TIMESTEPS", (500,))
    state = tmp_path / "training_state.safetensors"
    cli(*AGSM, "--tracker", "tensorboard", "--steps", 1, "--out", tmp_path)
    first = state.read_bytes()
    cli(*AGSM, "--tracker", "tensorboard", "--steps", 2, "--out", tmp_path)
    state.write_bytes(first)
    assert cli(*AGSM, "--tracker", "tensorboard", "--steps", 3, "--out", tmp_path)[0] == 0
    assert "tracker" not in json.loads((tmp_path / "config.json").read_text())["training"]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    lines = list(read(tmp_path / LOG_FILE))
    for key in ("loss", "lr", "tokens_norm"):
        assert [(e.step, e.value) for e in events.Scalars(key)] == [
            (line["step"], pytest.approx(line[key], rel=1e-6)) for line in lines
        ]


class Listener(GeneralTracker):
    """A tracker of accelerate's interface that keeps what it is told."""

    name, requires_logging_directory = "listener", False

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []

    @property
    def tracker(self) -> list[object]:
        return self.told

    @on_main_process
    def store_init_configuration(self, values: dict[str, object]) -> None:
        self.told.append(values)

    @on_main_process
    def log(self, values: dict[str, object], step: int | None = None, **_: object) -> None:
        self.told.append((step, values))

    @on_main_process
    def finish(self) -> None:
        self.told.append("finished")


def test_a_tracker_is_told_the_record_when_a_run_begins(tmp_path: Path) -> None:
    for step, begun in ((0, [{"trainer": "agsm", "objective": '{"gamma": 1}'}]), (7, [])):
        listener = Listener()
        accelerator = Accelerator(cpu=True, log_with=listener)
        with tracked(accelerator, tmp_path, {"trainer": "agsm", "objective": {"gamma": 1}}, step):
            accelerator.log({"loss": 0.5}, step=step + 1)
        assert listener.told == [*begun, (step + 1, {"loss": 0.5}), "finished"]


def test_a_tracker_that_does_not_start_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb without a login raises its own error."""

    def fail(*_: object) -> None:
        raise RuntimeError("No API key configured.\nUse wandb login.")

    accelerator = Accelerator(cpu=True)
    monkeypatch.setattr(accelerator, "init_trackers", fail)
    with (
        pytest.raises(MissingError, match=r"cannot start \(No API key configured\.\)\. .*wandb login"),
        tracked(accelerator, tmp_path, {}, 0),
    ):
        pass
