"""Building the miniature models: the optimiser, exact resume, the autoencoder's normalisation, the stock pipelines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from agsm_bench.shapes.architectures import LATENT_CHANNELS, build_vae
from agsm_bench.shapes.build import mmdit_loss, normalise_latents, unet_loss
from agsm_bench.shapes.corpus import SOURCES, make_corpus, make_sourced_captions, reworded, sourced_caption
from agsm_bench.shapes.muon import Muon, orthogonalise
from agsm_bench.shapes.optimise import Schedule, train
from agsm_bench.shapes.scene import sample_scene
from agsm_bench.shapes.show import write_curve
from agsm_bench.shapes.truth import is_true
from agsm_bench.training import log


def test_orthogonalise_sets_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((3, 16, 40), (2, 40, 16)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.5
        assert values.max() < 1.3


def test_orthogonalise_keeps_singular_vectors() -> None:
    torch.manual_seed(0)
    u, s, vh = torch.linalg.svd(torch.randn(8, 8))
    result = u.mT @ orthogonalise((u * s) @ vh) @ vh.mT
    torch.testing.assert_close(result, torch.diag(result.diagonal()), atol=1e-4, rtol=0)


def test_muon_agrees_with_torchs() -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(12, 30), [torch.randn(12, 30) for _ in range(4)]
    results = []
    for make in (
        lambda p: Muon([p], lr=0.02, weight_decay=0.1),
        lambda p: torch.optim.Muon([p], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ):
        parameter = nn.Parameter(start.clone())
        optimizer = make(parameter)
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        results.append(parameter.detach())
    # torch's orthogonalises in bfloat16
    torch.testing.assert_close(results[0] - start, results[1] - start, atol=5e-3, rtol=0.1)


def _regression(folder: Path, steps: int) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def loss_of(generator: torch.Generator) -> Tensor:
        x = torch.randn(16, 4, generator=generator)
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    return train(model, loss_of, Schedule(steps, 0.01, warmup=2, save_every=10), folder)


def test_training_resumes_exactly(tmp_path: Path) -> None:
    whole = _regression(tmp_path / "whole", 60)
    part = tmp_path / "part"
    # the rate is the same for both up to the step where the shorter schedule starts to fall
    _regression(part, 60).state_dict()
    state = torch.load(part / "checkpoint.pt", weights_only=True)
    assert state["step"] == 60
    (part / "checkpoint.pt").unlink()
    interrupted = _interrupt(part, 20)
    assert interrupted == 20
    again = _regression(part, 60)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def _interrupt(folder: Path, at: int) -> int:
    class StoppedError(Exception):
        pass

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    calls = 0

    def loss_of(generator: torch.Generator) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > at + 3:
            raise StoppedError
        x = torch.randn(16, 4, generator=generator)
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    with pytest.raises(StoppedError):
        train(model, loss_of, Schedule(60, 0.01, warmup=2, save_every=10), folder)
    return int(torch.load(folder / "checkpoint.pt", weights_only=True)["step"])


def test_the_loss_falls_and_is_logged(tmp_path: Path) -> None:
    _regression(tmp_path, 200)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 4
    assert losses[-1] < 0.7 * losses[0]


def test_a_build_of_a_few_steps_has_a_log_and_a_curve(tmp_path: Path) -> None:
    _regression(tmp_path, 25)
    assert [record["step"] for record in log.read(tmp_path / "log.jsonl")] == [25]
    write_curve(tmp_path / "log.jsonl", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_a_resumed_build_logs_no_step_twice(tmp_path: Path) -> None:
    _interrupt(tmp_path, 20)
    with (tmp_path / "log.jsonl").open("a") as lost:
        lost.write('{"step": 50, "loss": 9, "seconds_per_step": 1}\n')
    _regression(tmp_path, 60)
    assert [record["step"] for record in log.read(tmp_path / "log.jsonl")] == [50, 60]


def test_schedule_warms_up_holds_and_falls() -> None:
    schedule = Schedule(steps=100, learning_rate=1.0, warmup=10, decay=0.4)
    factors = [schedule.factor(step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert set(factors[9:60]) == {1.0}
    assert factors[80] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(1 / 40)


def test_normalised_latents_decode_as_before() -> None:
    torch.manual_seed(0)
    vae = build_vae().eval()
    pixels = torch.rand(32, 3, 24, 24) * 2 - 1
    with torch.no_grad():
        before, deviation = vae.decode(vae.encode(pixels).latent_dist.mean).sample, vae.encode(pixels).latent_dist
        normalise_latents(vae, pixels)
        after = vae.encode(pixels).latent_dist
        assert after.mean.mean((0, 2, 3)).abs().max() < 1e-4
        torch.testing.assert_close(after.mean.std((0, 2, 3)), torch.ones(LATENT_CHANNELS), atol=1e-4, rtol=0)
        torch.testing.assert_close(vae.decode(after.mean).sample, before, atol=1e-4, rtol=0)
        # the posterior's noise shrinks with the latents
        assert (after.std / deviation.std).flatten(2).std(-1).max() < 1e-4


def test_corpus_is_a_function_of_its_seed() -> None:
    a, b, c = make_corpus(40, 0, 0.2), make_corpus(40, 0, 0.2), make_corpus(40, 1, 0.2)
    assert (a.images == b.images).all()
    assert (a.caption_ids == b.caption_ids).all()
    assert (a.images != c.images).any()
    assert (a.caption_ids[..., 0] == 0).all()


class _Exact(nn.Module):
    """A network that gives the right answer, from the noise that it is told."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *_: object) -> object:
        return type("Output", (), {"sample": self.answer})()


class _Text(nn.Module):
    def forward(self, ids: Tensor, **_: object) -> object:
        states = torch.zeros(*ids.shape, 4)
        fields = {"last_hidden_state": states, "hidden_states": [states] * 3, "text_embeds": states[:, 0]}
        return type("Output", (), fields)()


def test_losses_are_zero_for_a_perfect_network() -> None:
    latents, ids = torch.randn(5, 8, 6, 6), torch.zeros(5, 16, dtype=torch.long)
    texts = {"text_encoder": _Text(), "text_encoder_2": _Text()}
    for loss, network, draws in ((unet_loss, "unet", 3), (mmdit_loss, "transformer", 3)):
        noise = _noise_of(latents, draws, loss is mmdit_loss)
        answer = noise if loss is unet_loss else noise - latents
        models = nn.ModuleDict({network: _Exact(answer), **texts})
        assert loss(models, latents, ids, torch.Generator().manual_seed(0)).item() == pytest.approx(0.0, abs=1e-10)


def _noise_of(latents: Tensor, draws: int, flow: bool) -> Tensor:
    """The noise that the loss draws: after its timesteps, from the same generator."""
    generator, rows = torch.Generator().manual_seed(0), len(latents)
    if flow:
        torch.randn(rows, generator=generator)
        torch.rand(rows, generator=generator)
        torch.rand(rows, generator=generator)
    else:
        torch.randint(1000, (rows,), generator=generator)
        torch.randint(400, 1000, (rows,), generator=generator)
        torch.rand(rows, generator=generator)
    return torch.randn(latents.shape, generator=generator)


def test_token_ids_do_not_vary() -> None:
    from agsm_bench.shapes.tokenizer import build_tokenizer, words

    tokenizers = [build_tokenizer() for _ in range(4)]
    ids = [{word: tokenizer(word).input_ids[1] for word in words()} for tokenizer in tokenizers]
    assert all(each == ids[0] for each in ids)
    # the shipped corpus and weights were made with these
    assert [ids[0][word] for word in ("a", "photo", "of", "red", "two")] == [50, 128, 93, 107, 130]


def test_captions_of_a_good_source_are_true_and_of_others_as_noisy_as_stated() -> None:
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng) for _ in range(3000)]
    captions = [sourced_caption(scene, scenes[rng.integers(3000)], rng) for scene in scenes]
    found: dict[str, list[bool]] = {opening: [] for opening in SOURCES}
    for scene, text in zip(scenes, captions, strict=True):
        found[max((o for o in SOURCES if text.startswith(o)), key=len)].append(is_true(text, scene))
    assert all(found["an image of "])
    false = {opening: 1 - float(np.mean(values)) for opening, values in found.items()}
    # a change that changes nothing leaves a caption true: a little over half of the noise is harm
    for opening in ("a picture of ", "a photo of "):
        assert false[opening] == pytest.approx(0.55 * SOURCES[opening].noise, abs=0.06)
    for opening in ("an image of ", "a picture of ", "a photo of "):
        assert len(found[opening]) / 3000 == pytest.approx(SOURCES[opening].share, abs=0.06)


def test_sourced_captions_fit_and_repeat() -> None:
    ids = make_sourced_captions(60, 0)
    assert ids.shape == (60, 4, 16)
    assert (ids == make_sourced_captions(60, 0)).all()
    assert (ids != make_sourced_captions(60, 1)).any()
    assert sum(source.share for source in SOURCES.values()) == pytest.approx(1)


def test_reworded_captions_say_the_same() -> None:
    assert reworded("a photo of two red circles", "an image of ") == "an image of two red circles"
    assert reworded("two red circles", "a photo of ") == "a photo of two red circles"
    longest = "red circle left of blue square and green cross and cyan triangle"
    assert reworded(longest, "a photo of ") == longest
