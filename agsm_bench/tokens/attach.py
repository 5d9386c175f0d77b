"""Attach soft tokens to a stock diffusers pipeline or model through hooks, and leave no trace when done.

UNet (SD1.5, SDXL): the cross-attention context of the chosen blocks becomes [BOS, tokens, rest].
MMDiT (SD3): in each of the first blocks the tokens join the text sequence and their outputs are dropped
after it, so every block gets fresh ones. They live behind the `context_embedder`, at its output width, or go
through it first, before their time embedding is added (`text_dim`: SoftREPA's code, transformer.py). Text carries
no positional encoding there, so after the text (AGSM) and before it (SoftREPA) is the same function.
Image tokens (paper Table 12; no code was released) do the same in the image's sequence, after the patches: a
psi+ and a psi- of their own, with a time embedding of their own, without positional encoding, dropped after the block.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from agsm_bench.errors import UserError
from agsm_bench.tokens.fit import (
    check_fit,
    check_polarity,
    check_rows,
    check_unconditional,
    cross_attention_blocks,
    mmdit_blocks,
    model_of,
)

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from agsm_bench.tokens.soft_tokens import SoftTokens

_CARRIER = "agsm_bench_soft_tokens"
_OUTSIDE = "a block with soft tokens ran outside its model's forward"
_occupied: WeakSet[nn.Module] = WeakSet()


@contextmanager
def attached(
    tokens: SoftTokens,
    target: object,
    *,
    polarity: int | Tensor = 0,
    unconditional_polarity: int | None = None,
) -> Iterator[Attachment]:
    """Let every forward of a model see the tokens, for the length of a `with`.

    The tokens are cast to the model's type and device; gradients reach them through frozen weights. With
    gradient checkpointing on an MMDiT, call `backward` inside the `with`: outside it, torch reports a
    `CheckpointError`, because the recomputed blocks no longer see the tokens.

    Args:
        tokens: what to attach. With a count of 0 the model stays as it is.
        target: a pipeline with a `unet` or `transformer`, or a bare UNet2DConditionModel or
            SD3Transformer2DModel.
        polarity: 0 is psi+, 1 is psi-; for all rows, or [rows] integers.
        unconditional_polarity: for a pipeline: the polarity of the unconditional half under classifier-free
            guidance (paper Table 5 row i and the released SDXL code: 1). None: as `polarity`.

    Yields:
        The attachment, whose `polarity` may be set before each forward.

    Raises:
        UserError: the tokens do not fit the model, tokens are already attached to it, or the polarities make
            no sense. A forward raises `ValueError` when [rows] polarities do not match its rows.
    """
    model = target if isinstance(target, nn.Module) else model_of(target)
    check_fit(tokens, model)
    check_unconditional(tokens, target, unconditional_polarity)
    if model in _occupied:
        raise UserError("soft tokens are already attached to this model.", "Leave the other `with` block first.")
    attachment = Attachment(tokens, target, polarity, unconditional_polarity)
    install = _unet_hooks if tokens.config.placement == "unet" else _mmdit_hooks
    with ExitStack() as stack:
        _occupied.add(model)
        stack.callback(_occupied.discard, model)
        if tokens.config.count or tokens.config.image_count:
            for hook in install(attachment, model):
                stack.callback(hook.remove)
        yield attachment


class Attachment:
    """Tokens at work in a model; made by `attached`.

    Attributes:
        tokens: replaceable between forwards by others of the same configuration, e.g. their average.
    """

    def __init__(
        self, tokens: SoftTokens, target: object, polarity: int | Tensor, unconditional_polarity: int | None
    ) -> None:
        self.tokens = tokens
        self.unconditional_polarity = unconditional_polarity
        self.polarity = polarity
        self._target = target

    @property
    def polarity(self) -> int | Tensor:
        """Polarity of the next forwards: one for all rows, or integers [rows]. Settable at any time."""
        return self._polarity

    @polarity.setter
    def polarity(self, value: int | Tensor) -> None:
        if isinstance(value, Tensor):
            check_rows(value, self.tokens.config.polarities)
            if self.unconditional_polarity is not None:
                raise UserError("row polarities and unconditional_polarity exclude each other.", "Pass one of them.")
        else:
            check_polarity(value, self.tokens.config.polarities)
        self._polarity = value

    def _tokens_for(
        self, call: _Call, embedder: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Text and image tokens, [rows, layers, count, dim] each, for one forward of the model."""
        rows = int(call.get(call.names[0]).shape[0])
        device = self.tokens.base.device
        timestep = torch.as_tensor(call.get("timestep"), device=device).reshape(-1)
        if timestep.numel() not in (1, rows):
            raise ValueError(f"{timestep.numel()} timesteps for {rows} rows")
        # Stable Diffusion 3's skip-layer guidance runs the conditional rows a second time, alone.
        polarity = self._polarities(rows, conditional_only=call.get("skip_layers") is not None)
        rows_of = timestep.expand(rows), polarity.to(device)
        return self.tokens(*rows_of, embedder), self.tokens.image_tokens(*rows_of)

    def _polarities(self, rows: int, conditional_only: bool) -> Tensor:
        """Polarity of each row, [rows]."""
        if isinstance(self._polarity, Tensor):
            if len(self._polarity) != rows:
                raise ValueError(f"{len(self._polarity)} polarities for {rows} rows: set one per row of the batch")
            return self._polarity.long()
        polarities = torch.full((rows,), self._polarity)
        guided = getattr(self._target, "do_classifier_free_guidance", False) and not conditional_only
        if self.unconditional_polarity is not None and guided:
            if rows % 2:
                raise ValueError(f"{rows} rows do not split into an unconditional and a conditional half")
            polarities[: rows // 2] = self.unconditional_polarity
        return polarities


@dataclass
class _Call:
    """Arguments of one call of a module, by name however they were passed."""

    names: tuple[str, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def get(self, name: str) -> Any:
        """The argument, or None."""
        index = self.names.index(name) if name in self.names else len(self.args)
        return self.args[index] if index < len(self.args) else self.kwargs.get(name)

    def set(self, name: str, value: Any) -> None:
        index = self.names.index(name)
        if index < len(self.args):
            self.args = (*self.args[:index], value, *self.args[index + 1 :])
        else:
            self.kwargs = {**self.kwargs, name: value}


def _before(module: nn.Module, edit: Callable[[_Call], None]) -> RemovableHandle:
    """Hook `edit` in before each call of a module, to change its arguments."""
    names = tuple(inspect.signature(module.forward).parameters)

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        call = _Call(names, args, kwargs)
        edit(call)
        return call.args, call.kwargs

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _unet_hooks(attachment: Attachment, model: nn.Module) -> Iterator[RemovableHandle]:
    """Put the tokens into the chosen blocks' context.

    Checkpointing needs no care here: it recomputes layers inside the blocks, from the context they got.
    """
    current: list[Tensor] = []

    def start(call: _Call) -> None:
        current[:] = [attachment._tokens_for(call)[0].squeeze(1)]

    def insert(call: _Call) -> None:
        if not current:
            raise RuntimeError(_OUTSIDE)
        call.set("encoder_hidden_states", _after_first(call.get("encoder_hidden_states"), current[0]))
        bias = call.get("encoder_attention_mask")
        if bias is not None:
            call.set("encoder_attention_mask", _widened(bias, current[0].shape[1]))

    def finish(*_: object) -> None:
        current.clear()

    yield _before(model, start)
    yield model.register_forward_hook(finish, always_call=True)
    for block in cross_attention_blocks(model, attachment.tokens.config.apply):
        yield _before(block, insert)


def _after_first(context: Tensor, tokens: Tensor) -> Tensor:
    """[BOS, tokens, rest] of a text [rows, length, dim]."""
    return torch.cat([context[:, :1], tokens.to(context), context[:, 1:]], dim=1)


def _widened(bias: Tensor, count: int) -> Tensor:
    """An attention bias [rows, 1, length], `count` longer after BOS; 0 keeps a token."""
    return torch.cat([bias[..., :1], bias.new_zeros((*bias.shape[:-1], count)), bias[..., 1:]], dim=-1)


def _mmdit_hooks(attachment: Attachment, model: Any) -> Iterator[RemovableHandle]:
    """Lengthen the text, and the image's sequence, of the first blocks and shorten them again after each.

    The tokens travel in `joint_attention_kwargs`, an argument of every block: gradient checkpointing calls
    the blocks again during backward, maybe after other forwards, and passes the arguments of the first time.
    """
    config = attachment.tokens.config

    def start(call: _Call) -> None:
        given = call.get("joint_attention_kwargs") or {}
        embedder = partial(_embedded, model.context_embedder, call)
        call.set("joint_attention_kwargs", {**given, _CARRIER: attachment._tokens_for(call, embedder)})

    def insert(call: _Call, layer: int) -> None:
        rest = dict(call.get("joint_attention_kwargs") or {})
        tokens = rest.pop(_CARRIER, None)
        if tokens is None:
            raise RuntimeError(_OUTSIDE)
        call.set("joint_attention_kwargs", rest)
        for name, extra in zip(("encoder_hidden_states", "hidden_states"), tokens, strict=True):
            if layer < config.layers and extra is not None:
                sequence = call.get(name)
                call.set(name, torch.cat([sequence, extra[:, layer].to(sequence)], dim=1))

    def drop(_: nn.Module, __: object, output: tuple[Tensor | None, Tensor]) -> tuple[Tensor | None, Tensor]:
        text, image = output
        kept = image[:, : image.shape[1] - config.image_count]
        return None if text is None else text[:, : text.shape[1] - config.count], kept

    yield _before(model, start)
    for layer, block in enumerate(mmdit_blocks(model)):
        yield _before(block, partial(insert, layer=layer))
        if layer < config.layers:
            yield block.register_forward_hook(drop)


def _embedded(embedder: nn.Linear, call: _Call, tokens: Tensor) -> Tensor:
    """Tokens [..., text_dim] through the embedder, in the text's type, where its weights lie before the forward."""
    dtype = call.get("encoder_hidden_states").dtype
    # offloaded, its weights lie nowhere before the forward
    device = getattr(getattr(embedder, "_hf_hook", None), "execution_device", None) or embedder.weight.device
    embedded: Tensor = embedder(tokens.to(device, dtype))
    return embedded.to(tokens)
