"""What of a backbone's network is fine-tuned, and how it is saved: low-rank adapters, or every weight."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.seeds import seed_of
from agsm_bench.training.config import PreferenceOptions
from agsm_bench.variant import LORA_FILE

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
"""Layers with an adapter, those of diffusers' own LoRA training scripts; the last four are an MMDiT's."""


class Tuning(Protocol):
    """Makes parameters of a network trainable in place."""

    def reference(self) -> Any:
        """A context in which the network is the untuned one; for forwards without gradient."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the weights as `agsm_bench.variant` lays them out."""
        ...

    def undo(self) -> None:
        """Makes the network what it was."""
        ...


class LoraTuning:
    """Adapters on the attention layers; their second factor starts at zero, so the network starts as it was."""

    def __init__(self, denoiser: Denoiser, options: PreferenceOptions) -> None:
        from diffusers.training_utils import cast_training_params
        from peft import LoraConfig

        self.denoiser = denoiser
        config = LoraConfig(r=options.rank, lora_alpha=options.rank, target_modules=list(ATTENTION))
        # peft draws from torch's global generator
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of("lora", options.seed))
            denoiser.network.add_adapter(config)
        # like the backbone's half precision they would have gradients that no loss scaler takes, and lose small steps
        cast_training_params(denoiser.network, torch.float32)

    @contextmanager
    def reference(self) -> Iterator[None]:
        self.denoiser.network.disable_adapters()
        try:
            yield
        finally:
            self.denoiser.network.enable_adapters()

    def save(self, folder: Path) -> None:
        from peft import get_peft_model_state_dict

        layers = {f"{self.denoiser.component}_lora_layers": get_peft_model_state_dict(self.denoiser.network)}
        self.denoiser.pipe.save_lora_weights(folder, weight_name=LORA_FILE, **layers)

    def undo(self) -> None:
        self.denoiser.network.unload_lora()


class FullTuning:
    """Every weight, as a copy in float32: those it starts from are the reference, and come back at the end."""

    def __init__(self, denoiser: Denoiser, options: PreferenceOptions) -> None:
        self.denoiser = denoiser
        self.dtype = getattr(torch, options.precision)
        self.start = [parameter.data for parameter in denoiser.network.parameters()]
        self._set([value.clone().float() for value in self.start])
        denoiser.network.requires_grad_(True)

    @contextmanager
    def reference(self) -> Iterator[None]:
        tuned = [parameter.data for parameter in self.denoiser.network.parameters()]
        self._set(self.start)
        try:
            yield
        finally:
            self._set(tuned)

    def save(self, folder: Path) -> None:
        network = self.denoiser.network
        saved = network if self.dtype == self.denoiser.dtype else copy.deepcopy(network).to(self.dtype)
        saved.save_pretrained(folder / self.denoiser.component)

    def undo(self) -> None:
        self._set(self.start)
        self.denoiser.network.requires_grad_(False)

    def _set(self, values: list[torch.Tensor]) -> None:
        for parameter, value in zip(self.denoiser.network.parameters(), values, strict=True):
            parameter.data = value
