"""The training loop on the shipped miniature backbones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from agsm_bench import plugins
from agsm_bench.contracts import Backbone, Trainer
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.diffusion.text import CachedText
from agsm_bench.errors import UserError
from agsm_bench.shapes.detector import detect
from agsm_bench.shapes.truth import parse
from agsm_bench.tokens.checkpoint import load_tokens
from agsm_bench.tokens.header import read_header
from agsm_bench.training.config import TrainingOptions, autocast_name, fill, kept_folder, resolve
from agsm_bench.training.job import TokenJob
from agsm_bench.training.loop import Training, learning_rate, memory_and_precision, train
from agsm_bench.training.pairs import load_batch, predict_pairs
from agsm_bench.training.token_task import TokenTask

BACKBONES = ("shapes-unet", "shapes-mmdit")


def silent(step: int, record: dict[str, float]) -> None:
    """No progress bar."""


@pytest.fixture(scope="module")
def denoisers() -> dict[str, Denoiser]:
    return {name: plugins.load("backbones", name).load() for name in BACKBONES}


def job(out: Path, trainer: str = "agsm", backbone: str = "shapes-mmdit", **options: Any) -> TokenJob:
    found: Trainer = plugins.load("trainers", trainer)
    chosen: Backbone = plugins.load("backbones", backbone)
    own = {k: options.pop(k) for k in list(options) if k in found.options.__dataclass_fields__}  # type: ignore[attr-defined]
    resolved = resolve(TrainingOptions(**({"steps": 4, "validate_every": 2, "save_every": 2} | options)), chosen)
    out.mkdir(parents=True, exist_ok=True)
    defaults = {"gamma_negative": chosen.training.gamma_negative, "denoising_weight": chosen.training.denoising_weight}
    return TokenJob(trainer, found, chosen, resolved, fill(found.options(**own), defaults), out)


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("trainer", ["agsm", "softrepa", "shared"])
def test_resume_equals_an_unbroken_run(
    tmp_path: Path, denoisers: dict[str, Denoiser], trainer: str, backbone: str
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    first = train(job(whole, trainer, backbone), denoisers[backbone], silent)
    train(job(broken, trainer, backbone, steps=2), denoisers[backbone], silent)
    second = train(job(broken, trainer, backbone), denoisers[backbone], silent)
    assert first.read_bytes() == second.read_bytes()
    # the interrupted run validated at its own last step too; everything else is the same
    assert log_of(whole) == log_of(broken)


def test_log_and_header(tmp_path: Path, denoisers: dict[str, Denoiser]) -> None:
    path = train(job(tmp_path, seed=3), denoisers["shapes-mmdit"], silent)
    records = log_of(tmp_path)
    assert [r["step"] for r in records] == [1, 2, 3, 4]
    for key in ("loss", "lr", "err_positive", "err_negative", "win_rate", "margin", "tokens_norm", "weight_positive"):
        assert all(key in r for r in records)
    assert ["val_gap" in r for r in records] == [False, True, False, True]
    header = read_header(path)
    assert header.config.backbone == "shapes-mmdit"
    assert (header.training["trainer"], header.training["seed"], header.training["steps"]) == ("agsm", 3, 4)


def test_a_diverging_training_says_what_to_lower(tmp_path: Path, denoisers: dict[str, Denoiser]) -> None:
    with pytest.raises(UserError, match=r"The loss became (nan|inf) at step 2") as caught:
        train(job(tmp_path, learning_rate=1e30, min_learning_rate=1e30), denoisers["shapes-mmdit"], silent)
    assert "--learning-rate" in caught.value.fix


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradient_checkpointing_gives_the_same_gradient(
    tmp_path: Path, denoisers: dict[str, Denoiser], backbone: str
) -> None:
    gradients = []
    for on in (False, True):
        asked = job(tmp_path / str(on), backbone=backbone, gradient_checkpointing=on)
        task = TokenTask(asked, denoisers[backbone])
        with memory_and_precision(denoisers[backbone], asked.options), task.active():
            task.loss(0)[0].backward()  # type: ignore[no-untyped-call]
        gradients.append({name: value.grad for name, value in task.trained.items()})
    assert not denoisers[backbone].network.is_gradient_checkpointing
    torch.testing.assert_close(gradients[1], gradients[0])


def test_bfloat16_trains_close_to_float32(
    tmp_path: Path, denoisers: dict[str, Denoiser], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autocast takes part (the losses differ) and changes little; the tokens stay in float32."""
    monkeypatch.setattr("agsm_bench.training.validation.TIMESTEPS", (500,))  # many a CPU is slow in bfloat16
    logs = {}
    for precision in ("no", "bf16"):
        AcceleratorState._reset_state()  # one precision a process
        path = train(
            job(tmp_path / precision, steps=2, batch=2, mixed_precision=precision), denoisers["shapes-mmdit"], silent
        )
        logs[precision] = [record["loss"] for record in log_of(tmp_path / precision)]
        assert load_tokens(path).base.dtype is torch.float32
    assert logs["bf16"] != logs["no"]
    assert logs["bf16"] == pytest.approx(logs["no"], rel=0.05)
    AcceleratorState._reset_state()
    assert denoisers["shapes-mmdit"].autocast is None


def test_accelerates_accumulation_is_left_out(
    tmp_path: Path, denoisers: dict[str, Denoiser], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment it would divide the gradient."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    task = TokenTask(job(tmp_path), denoisers["shapes-mmdit"])
    assert Training(task).accelerator.gradient_accumulation_steps == 1


def test_half_precision_needs_a_gpu(tmp_path: Path, denoisers: dict[str, Denoiser]) -> None:
    assert autocast_name("auto", "cuda") == "fp16"
    with pytest.raises(UserError, match="CUDA"):
        train(job(tmp_path, mixed_precision="fp16"), denoisers["shapes-mmdit"], silent)


@pytest.mark.parametrize("trainer", ["agsm", "softrepa"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_rows_per_backward_gives_the_gradient_of_the_whole_batch(
    tmp_path: Path, denoisers: dict[str, Denoiser], trainer: str, backbone: str
) -> None:
    """Also with a group that is not full: 16 pairs, 5 at once. In float64: groups of other sizes round differently."""
    denoiser, gradients = denoisers[backbone], []
    denoiser.network.double()
    try:
        for rows in (None, 5):
            task = TokenTask(job(tmp_path / str(rows), trainer, backbone, rows_per_backward=rows), denoiser)
            with task.active():
                loss, _ = task.loss(0)
                loss.backward()  # type: ignore[no-untyped-call]
            gradients.append({name: value.grad for name, value in task.trained.items()})
    finally:
        denoiser.network.float()
    for name, whole in gradients[0].items():
        assert whole is not None
        torch.testing.assert_close(gradients[1][name], whole, rtol=1e-4, atol=1e-6 * float(whole.abs().max()))


def test_seeds_differ_and_repeat(tmp_path: Path, denoisers: dict[str, Denoiser]) -> None:
    paths = [
        train(job(tmp_path / name, seed=seed, steps=1), denoisers["shapes-mmdit"], silent)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    a, b, c = (path.read_bytes() for path in paths)
    assert a == b
    assert a != c


def test_ema_follows_its_decay(tmp_path: Path, denoisers: dict[str, Denoiser]) -> None:
    for decay in (0.0, 0.5, 1.0):
        task = TokenTask(job(tmp_path / str(decay), ema_decay=decay, steps=1), denoisers["shapes-mmdit"])
        start = task.student.base.detach().clone()
        Training(task).run(silent)
        expected = start.lerp(task.student.base.detach(), 1 - decay)
        torch.testing.assert_close(task.ema.base, expected)


def test_the_backbone_is_untouched(tmp_path: Path, denoisers: dict[str, Denoiser]) -> None:
    network = denoisers["shapes-unet"].network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train(job(tmp_path, backbone="shapes-unet"), denoisers["shapes-unet"], silent)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_predict_pairs_equals_one_pair_at_a_time(tmp_path: Path, denoisers: dict[str, Denoiser], backbone: str) -> None:
    denoiser = denoisers[backbone]
    task = TokenTask(job(tmp_path, backbone=backbone), denoiser)
    batch = load_batch(task.data, range(3), denoiser, CachedText(denoiser.encode_text))
    timestep = torch.full((3,), 640)
    noised = denoiser.process.add_noise(batch.latents, torch.randn_like(batch.latents), timestep)
    with torch.no_grad(), task.student.attached(denoiser.network) as attachment:
        together = predict_pairs(denoiser, attachment, noised, timestep, batch.text, polarities=2)
        for i in range(3):
            for j in range(3):
                attachment.polarity = int(i != j)
                alone = denoiser.predict(noised[i : i + 1], timestep[:1], batch.text.rows(torch.tensor([j])))
                torch.testing.assert_close(together[i, j], alone[0], atol=1e-5, rtol=1e-4)


def test_positive_only_leaves_the_negative_tokens_to_weight_decay(
    tmp_path: Path, denoisers: dict[str, Denoiser]
) -> None:
    task = TokenTask(job(tmp_path, gamma_negative=0.0, weight_decay=0.0, steps=2), denoisers["shapes-mmdit"])
    start = task.student.base.detach().clone()
    Training(task).run(silent)
    assert torch.equal(task.student.base[1], start[1])
    assert not torch.equal(task.student.base[0], start[0])


def test_learning_rate_is_torchs_cosine_with_warm_restarts() -> None:
    options = resolve(
        TrainingOptions(validate_every=3, restart_every=4, learning_rate=1e-3),
        plugins.load("backbones", "shapes-mmdit"),
    )
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=4, eta_min=1e-5)
    for step in range(40):
        assert learning_rate(options, step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if (step + 1) % 3 == 0:
            schedule.step()


def test_held_out_pairs_are_not_trained_on() -> None:
    backbone: Backbone = plugins.load("backbones", "shapes-mmdit")
    train_items = [backbone.training_data(0, False).item(i) for i in range(50)]
    held_out = [backbone.training_data(0, True).item(i) for i in range(50)]
    pictures = {picture.tobytes() for picture, _ in train_items}
    assert len(pictures) == 50
    assert not pictures & {picture.tobytes() for picture, _ in held_out}


@pytest.mark.parametrize("held_out", [False, True])
def test_false_negatives_are_true_captions_of_another_picture(held_out: bool) -> None:
    """The exact detector reads the scene back: a claim without colours is compared by hand."""
    data = plugins.load("backbones", "shapes-mmdit").training_data(0, held_out)
    found = data.false_negatives(range(100))
    assert not found.diagonal().any()
    assert 0 < found.mean() < 0.05
    texts = [data.item(i)[1] for i in range(100)]
    for i, j in zip(*found.nonzero(), strict=True):
        seen = Counter(d.label for d in detect(data.item(i)[0]))
        asked = Counter(shape for shape, _ in parse(texts[j]).items)
        assert seen == asked
    repeated = [(i, j) for i in range(100) for j in range(100) if i != j and texts[i] == texts[j]]
    assert repeated
    assert all(found[i, j] for i, j in repeated)


def test_excluding_false_negatives_changes_the_tokens_only_where_there_are_some(
    tmp_path: Path, denoisers: dict[str, Denoiser]
) -> None:
    data = plugins.load("backbones", "shapes-mmdit").training_data
    some = {seed: any(data(seed, False).false_negatives(range(g, g + 4)).any() for g in (0, 4)) for seed in range(40)}
    for expected in (False, True):
        seed = next(seed for seed, has in some.items() if has is expected)
        paths = []
        for exclude in (False, True):
            run_of = job(tmp_path / f"{seed}-{exclude}", steps=2, seed=seed, exclude_false_negatives=exclude)
            paths.append(train(run_of, denoisers["shapes-mmdit"], silent))
        first, second = (load_tokens(path, "shapes-mmdit").base for path in paths)
        assert torch.equal(first, second) is not expected


def test_positive_alone_is_agsm_with_gamma_negative_zero(tmp_path: Path, denoisers: dict[str, Denoiser]) -> None:
    alone = train(job(tmp_path / "a", "positive"), denoisers["shapes-mmdit"], silent)
    agsm = train(job(tmp_path / "b", gamma_negative=0.0), denoisers["shapes-mmdit"], silent)
    assert torch.equal(load_tokens(alone, "shapes-mmdit").base, load_tokens(agsm, "shapes-mmdit").base)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_captions_encoding_does_not_depend_on_its_batch(denoisers: dict[str, Denoiser], backbone: str) -> None:
    """Else a resumed run, which meets other captions for the first time, would differ in the last bits."""
    captions = [f"a photo of {n} {shape}s" for n in ("two", "three", "four") for shape in ("circle", "square")]
    together = CachedText(denoisers[backbone].encode_text)(captions)
    for row, caption in enumerate(captions):
        alone = CachedText(denoisers[backbone].encode_text)([caption])
        assert torch.equal(alone.context[0], together.context[row])
        if alone.pooled is not None and together.pooled is not None:
            assert torch.equal(alone.pooled[0], together.pooled[row])


def test_captions_are_held_up_to_a_number_of_bytes(denoisers: dict[str, Denoiser]) -> None:
    denoiser = denoisers["shapes-mmdit"]
    captions = [f"a photo of a {colour} circle" for colour in ("red", "green", "blue", "white")]
    each = denoiser.encode_text(captions[:1]).nbytes
    text = CachedText(denoiser.encode_text, limit=2 * each)
    expected = [denoiser.encode_text([caption]).context[0] for caption in captions]
    for _ in range(2):
        for caption, context in zip(captions, expected, strict=True):
            assert torch.equal(text([caption]).context[0], context)
            assert text.nbytes <= 3 * each


@pytest.mark.parametrize("backbone", BACKBONES)
def test_kept_tokens_are_those_of_a_shorter_run(tmp_path: Path, denoisers: dict[str, Denoiser], backbone: str) -> None:
    long, short = tmp_path / "long", tmp_path / "short"
    last = train(job(long, backbone=backbone, keep_every=2), denoisers[backbone], silent)
    shorter = train(job(short, backbone=backbone, steps=2), denoisers[backbone], silent)
    assert kept_folder(long, 2).joinpath(shorter.name).read_bytes() == shorter.read_bytes()
    assert kept_folder(long, 4).joinpath(last.name).read_bytes() == last.read_bytes()
    assert not kept_folder(long, 3).exists()
