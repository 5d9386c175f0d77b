"""Training and evaluation on several processes (gloo, CPU): the same bytes as on one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from PIL import Image

from agsm_bench import evaluate as evaluation
from agsm_bench.errors import UserError
from agsm_bench.evaluate import evaluate
from agsm_bench.parallel import ALONE, Processes
from agsm_bench.request import EvaluationOptions, Request
from agsm_bench.shapes.pairs import ShapesPairs
from agsm_bench.training.accumulation import mean_record
from agsm_bench.training.log import LOG_FILE
from agsm_bench.training.state import STATE_FILE

WORKER = Path(__file__).with_name("parallel_worker.py")
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node=2")
ACCELERATE = ("accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0")
AGSM = ("train", "agsm", "--batch", 2, "--validate-every", 2, "--save-every", 1)
EVAL = {"limit": 6, "images_per_prompt": 1, "steps": 2}
STORES = ("samples.jsonl", "scores.jsonl", "detections.jsonl", "denoising.jsonl", "results.jsonl", "summary.json")


@pytest.fixture(scope="module", autouse=True)
def _few_timesteps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agsm_bench.training.validation.TIMESTEPS", (500,))
        yield


def silent(*_: object) -> None:
    """No progress bar."""


def start(launcher: tuple[str, ...], *arguments: object, **environment: str) -> subprocess.Popen[str]:
    modules = [word for word in launcher[:1] for word in ("-m", word)]
    command = [sys.executable, *modules, *launcher[1:], str(WORKER), *map(str, arguments)]
    settings = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=settings, stdout=pipe, stderr=pipe, text=True)


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, data, lines = tmp_path_factory.mktemp("preferences"), ShapesPairs(7, held_out=False), []
    for index in range(4):
        names = {key: f"{index}-{key}.png" for key in ("preferred", "rejected")}
        for key, item in (("preferred", index), ("rejected", index + 100)):
            Image.fromarray(data.item(item)[0]).save(path / names[key])
        lines.append(json.dumps({"prompt": data.item(index)[1], **names}) + "\n")
    (path / "preferences.jsonl").write_text("".join(lines))
    return path


def tune(preferences: Path) -> tuple[object, ...]:
    return "train", "diffusion_dpo", "--preferences", preferences, "--batch", 1, "--rank", 2, "--steps", 2


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, preferences: Path) -> Path:
    """What two processes under torchrun made: tokens, a LoRA, and an evaluation begun by three others."""
    out = tmp_path_factory.mktemp("together")
    leave_parts(out / "eval", Processes(1, 3))
    flags = [word for name, value in EVAL.items() for word in ("--" + name.replace("_", "-"), value)]
    code, stdout, stderr = finished(
        start(
            TORCHRUN,
            *(*AGSM, "--steps", 3, "--accumulate", 2, "--out", out / "tokens", "--then"),
            *(*tune(preferences), "--accumulate", 2, "--out", out / "lora", "--then"),
            *("eval", "geneval", *flags, "--json", "--out", out / "eval"),
        )
    )
    assert code == 0, stderr
    saved, _, loras, _, summary = stdout.splitlines()
    assert saved.startswith("Saved")
    assert loras.startswith("Saved")
    assert json.loads(summary)["complete"]
    return out


def test_two_processes_train_tokens_like_one(cli: Cli, tmp_path: Path, together: Path) -> None:
    cli(*AGSM, "--steps", 3, "--accumulate", 2, "--out", tmp_path)
    for name in ("soft_tokens.safetensors", STATE_FILE, LOG_FILE):
        assert (together / "tokens" / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_two_processes_tune_like_one(cli: Cli, tmp_path: Path, together: Path, preferences: Path) -> None:
    cli(*tune(preferences), "--accumulate", 2, "--out", tmp_path)
    for name in ("pytorch_lora_weights.safetensors", LOG_FILE):
        assert (together / "lora" / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_a_killed_training_goes_on_with_another_number_of_processes(cli: Cli, tmp_path: Path, together: Path) -> None:
    """Two processes under accelerate, one of them killed in the third step; then one alone."""
    process = start(ACCELERATE, *AGSM, "--steps", 3, "--accumulate", 2, "--out", tmp_path, FAILING="1 5 kill")
    assert finished(process)[0] != 0
    assert len((tmp_path / LOG_FILE).read_text().splitlines()) in (1, 2)
    assert cli(*AGSM, "--steps", 3, "--accumulate", 2, "--out", tmp_path)[0] == 0
    for name in ("soft_tokens.safetensors", STATE_FILE, LOG_FILE):
        assert (tmp_path / name).read_bytes() == (together / "tokens" / name).read_bytes(), name


def test_an_error_of_one_process_ends_all(tmp_path: Path) -> None:
    """Without a launcher, which would end the others by itself."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "FAILING": "1 1 error"}
    arguments = (*AGSM, "--steps", 3, "--accumulate", 2, "--out", tmp_path)
    processes = [start((), *arguments, **common, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]
    (code, _, err), (failing, _, reason) = map(finished, processes)
    assert (code, failing) == (130, 3)
    assert "agsm-bench (process 1 of 2): A picture is absent. Get it." in reason
    assert "agsm-bench (process 0 of 2): Another process of this command has ended." in err
    assert "Traceback" not in err + reason


def test_accumulation_sees_what_single_steps_see(cli: Cli, tmp_path: Path) -> None:
    """Two batches a step are the first two steps' (the first one's record is made before any update)."""
    for name, accumulate in (("one", 1), ("two", 2)):
        cli(*AGSM, "--steps", 1, "--accumulate", accumulate, "--out", tmp_path / name)
    cli(*AGSM, "--steps", 2, "--learning-rate", 0, "--min-learning-rate", 0, "--out", tmp_path / "still")
    logs = {p.name: [json.loads(x) for x in (p / LOG_FILE).read_text().splitlines()] for p in tmp_path.iterdir()}
    still, (two,) = logs["still"], logs["two"]
    assert still[0]["err_positive"] == logs["one"][0]["err_positive"]
    assert two["timestep"] == (still[0]["timestep"] + still[1]["timestep"]) / 2
    assert two["err_positive"] == pytest.approx((still[0]["err_positive"] + still[1]["err_positive"]) / 2)


def test_the_default_is_left_out_of_the_record(cli: Cli, tmp_path: Path) -> None:
    cli(*AGSM, "--steps", 1, "--out", tmp_path)
    assert "accumulate" not in json.loads((tmp_path / "config.json").read_text())["training"]
    code, _, err = cli(*AGSM, "--steps", 1, "--accumulate", 2, "--out", tmp_path)
    assert (code, "accumulate was None, now 2" in err) == (2, True)


def test_means_are_over_the_batches_that_have_an_entry() -> None:
    assert mean_record([{"a": 1.0, "b": 3.0}, {"a": 2.0}]) == {"a": 1.5, "b": 3.0}
    assert mean_record([{"timestep": 7}]) == {"timestep": 7}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("train", "agsm"), "Use --accumulate 2"),
        (("train", "agsm", "--accumulate", 3), "--accumulate 3"),
        (("eval", "geneval", "--shard", "0/2"), "Leave out --shard"),
        (("report", "--table", 1), "report is for one process"),
    ],
)
def test_refusals(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr("agsm_bench.parallel.join", lambda: Processes(0, 2))
    code, _, err = cli(*arguments)
    assert (code, word in err) == (2, True), err
    assert not list(tmp_path.iterdir())


class Deaf(Processes):
    """One of several processes that talks to nobody, as if it worked while the others wait."""

    def gather(self, value: Any) -> list[Any]:
        return [value] * self.count

    def on_first(self, action: Any) -> Any:
        return action()


def leave_parts(out: Path, process: Processes) -> None:
    """What one process made of its shard before all were killed."""
    plan = evaluation.planned(request(out))
    evaluation._share(plan, Deaf(process.rank, process.count), silent)
    assert len(list((out / ".shards").glob("*/samples.jsonl"))) == 1


def request(out: Path, **changes: Any) -> Request:
    return Request("geneval", "shapes-mmdit", out, options=EvaluationOptions(**(EVAL | changes)))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    evaluate(request(out), silent, ALONE)
    return out


def test_processes_evaluate_like_one(together: Path, alone: Path) -> None:
    for name in STORES:
        assert (together / "eval" / name).read_bytes() == (alone / name).read_bytes(), name
    assert not (together / "eval" / ".shards").exists()


def test_one_process_goes_on_with_what_several_left(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_parts(tmp_path, Processes(0, 2))
    left = len((tmp_path / ".shards/0-of-2/samples.jsonl").read_text().splitlines())
    made: list[str] = []
    generated = evaluation._generated
    monkeypatch.setattr(evaluation, "_generated", lambda *a: (made.extend(a[4]), generated(*a))[1])
    evaluate(request(tmp_path), silent)
    assert (len(made), left > 0) == (6 - left, True)
    for name in STORES:
        assert (tmp_path / name).read_bytes() == (alone / name).read_bytes(), name


def test_parts_of_another_run_are_not_taken(tmp_path: Path) -> None:
    leave_parts(tmp_path, Processes(0, 2))
    with pytest.raises(UserError, match="seed is 0 there and 1 here"):
        evaluate(replace(request(tmp_path, seed=1)), silent)
    assert (tmp_path / ".shards/0-of-2/samples.jsonl").exists()
