"""mmdet's checkpoints of Mask2Former with a Swin backbone under the names of transformers.

The networks are the same, tensor by tensor, but for two things: transformers keeps query, key and value of Swin's
attention and of the decoder's self-attention apart, and mmdet's patch merging has the channels of the four neighbours
interleaved and in another order. Checkpoints of mmdet 3.x and, with other names of the attentions, of 2.x are read.
Compared with mmdet 3.3 on shared random weights: equal to rounding (`../shared/prototypes` of the project).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ENCODER = "model.pixel_level_module.encoder."
PIXELS = "model.pixel_level_module.decoder."
DECODER = "model.transformer_module."

OF_VERSION_2 = (
    (r"(pixel_decoder\.encoder\.layers\.\d+)\.attentions\.0\.", r"\1.self_attn."),
    (r"(transformer_decoder\.layers\.\d+)\.attentions\.0\.", r"\1.cross_attn."),
    (r"(transformer_decoder\.layers\.\d+)\.attentions\.1\.", r"\1.self_attn."),
    (r"\.ffns\.0\.", ".ffn."),
)
"""Names of mmdet 2.x that 3.x has changed."""
SWIN = (
    ("norm1", "layernorm_before"),
    ("norm2", "layernorm_after"),
    ("ffn.layers.0.0", "mlp.fc1"),
    ("ffn.layers.1", "mlp.fc2"),
    (
        "attn.w_msa.relative_position_bias_table",
        "attention.relative_position_bias.relative_position_bias_table",
    ),
    ("attn.w_msa.proj", "attention.o_proj"),
)
PIXEL_DECODER = (
    ("lateral_convs.0.conv", "adapter_1.0"),
    ("lateral_convs.0.gn", "adapter_1.1"),
    ("output_convs.0.conv", "layer_1.0"),
    ("output_convs.0.gn", "layer_1.1"),
    ("level_encoding.weight", "level_embed"),
    ("mask_feature", "mask_projection"),
    ("ffn.layers.0.0", "fc1"),
    ("ffn.layers.1", "fc2"),
    ("norms.0", "self_attn_layer_norm"),
    ("norms.1", "final_layer_norm"),
)
TRANSFORMER_DECODER = (
    ("norms.0", "cross_attn_layer_norm"),
    ("norms.1", "self_attn_layer_norm"),
    ("norms.2", "final_layer_norm"),
    ("ffn.layers.0.0", "fc1"),
    ("ffn.layers.1", "fc2"),
    ("post_norm", "layernorm"),
    ("attn.attn.", "attn."),
)
HEADS = {
    "query_embed.weight": f"{DECODER}queries_embedder.weight",
    "query_feat.weight": f"{DECODER}queries_features.weight",
    "level_embed.weight": f"{DECODER}level_embed.weight",
    "cls_embed.weight": "class_predictor.weight",
    "cls_embed.bias": "class_predictor.bias",
}
MERGED = [0, 2, 1, 3]
"""transformers' order of the four neighbours that patch merging joins, in mmdet's numbers."""


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under transformers' names; those that neither network has keep mmdet's.

    Window positions, which are no weights, are left out.
    """
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if not key.endswith("relative_position_index"):
            found.update(_parts(_modern(key), tensor))
    return found


def _modern(key: str) -> str:
    for pattern, name in OF_VERSION_2:
        key = re.sub(pattern, name, key)
    return key


def _parts(key: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """One tensor as one, or as its query, key and value."""
    head = key.removeprefix("panoptic_head.")
    if key.startswith("backbone."):
        yield from _swin(key.removeprefix("backbone."), tensor)
    elif head.startswith("pixel_decoder."):
        inner = re.sub(r"input_convs\.(\d)\.conv", r"input_projections.\1.0", head.removeprefix("pixel_decoder."))
        inner = re.sub(r"input_convs\.(\d)\.gn", r"input_projections.\1.1", inner)
        yield PIXELS + _replaced(inner, PIXEL_DECODER), tensor
    elif head.startswith("transformer_decoder."):
        inner = _replaced(head.removeprefix("transformer_decoder."), TRANSFORMER_DECODER)
        yield from _split(f"{DECODER}decoder.{inner}", tensor, "self_attn.in_proj_", "self_attn.{}_proj.")
    elif mask := re.fullmatch(r"mask_embed\.(\d)\.(\w+)", head):
        yield f"{DECODER}decoder.mask_predictor.mask_embedder.{int(mask[1]) // 2}.0.{mask[2]}", tensor
    else:
        yield HEADS.get(head, key), tensor


def _swin(key: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if found := re.fullmatch(r"patch_embed\.(projection|norm)\.(\w+)", key):
        inner = "patch_embeddings.projection" if found[1] == "projection" else "norm"
        yield f"{ENCODER}swin.embeddings.{inner}.{found[2]}", tensor
    elif found := re.fullmatch(r"norm(\d)\.(\w+)", key):
        yield f"{ENCODER}hidden_states_norms.stage{int(found[1]) + 1}.{found[2]}", tensor
    elif found := re.fullmatch(r"stages\.(\d)\.(.+)", key):
        inner = _replaced(found[2], SWIN)
        whole = f"{ENCODER}swin.encoder.layers.{found[1]}.{inner}"
        ordered = _merged(tensor) if inner.startswith("downsample.") else tensor
        yield from _split(whole, ordered, "attn.w_msa.qkv.", "attention.{}_proj.")
    else:
        yield f"backbone.{key}", tensor


def _merged(tensor: Tensor) -> Tensor:
    """A patch merging's tensor [..., 4 c]: mmdet has the four neighbours of a channel side by side."""
    neighbours = tensor.unflatten(-1, (-1, len(MERGED))).transpose(-1, -2)
    return neighbours[..., MERGED, :].flatten(-2)


def _split(key: str, tensor: Tensor, together: str, apart: str) -> Iterator[tuple[str, Tensor]]:
    if together not in key:
        yield key, tensor
        return
    for letter, part in zip("qkv", tensor.chunk(3), strict=True):
        yield key.replace(together, apart.format(letter)), part


def _replaced(key: str, names: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in names:
        key = key.replace(theirs, ours)
    return key
