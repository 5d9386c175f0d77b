"""Mask2Former for GenEval: what is done before and after the network, as in mmdet 2.27, which GenEval asks for.

With its configuration `mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco`: OpenCV's resizing (to the bit), grey padding,
100 best pairs of query and class, masks upsampled twice. What remains different from GenEval's own evaluator:

- Deformable attention is PyTorch's `grid_sample` instead of mmcv's CUDA operator, which differs by rounding (and was
  reported to give low confidences on some GPUs).
- Detections that score below `FLOOR` are dropped; GenEval's own thresholds are 0.3 and 0.9.
- Equal scores keep the order of queries and classes; in mmdet their order is up to the GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from agsm_bench.geneval_prompts import COCO_CLASSES
from agsm_bench.opencv_resize import resize
from agsm_bench.types import Detection

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "1"
"""To be raised with every change of what is found with the same weights."""

LONG_SIDE, SHORT_SIDE = 1333, 800
"""The largest rectangle that a picture is scaled up or down to fit, either way round."""
MULTIPLE = 32
"""What both sides are padded to."""
GREY = 128
"""Of the padding, before normalisation."""
MEAN = np.array((123.675, 116.28, 103.53), np.float32)
DEVIATION = np.array((58.395, 57.12, 57.375), np.float32)
BEST = 100
"""Pairs of a query and a class that are looked at."""
FLOOR = 0.05
"""Least score of a detection."""

Size = tuple[int, int]
"""Height and width in pixels."""


def fitted(size: Size) -> Size:
    """The size to scale to, at the same aspect ratio; at least a pixel, where mmdet fails."""
    scale = min(LONG_SIDE / max(size), SHORT_SIDE / min(size))
    height, width = (max(int(side * scale + 0.5), 1) for side in size)
    return height, width


def pixels(image: np.ndarray) -> tuple[np.ndarray, Size]:
    """The network's input, float32 [3, height, width] with multiples of 32, and the size without padding."""
    height, width = fitted((image.shape[0], image.shape[1]))
    padding = ((0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0))
    padded = np.pad(resize(image, height, width), padding, constant_values=GREY)
    normalised = (padded.astype(np.float32) - MEAN) / DEVIATION
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)), (height, width)


def detections(classes: Tensor, masks: Tensor, padded: Size, scaled: Size, size: Size) -> list[Detection]:
    """One picture's output of the network as detections, best first.

    A score is the probability of the class times the mean probability of the mask's pixels, which is at most 1: a
    class below `FLOOR` needs no mask.

    Args:
        classes: logits [queries, 81], "no object" last.
        masks: logits [queries, h, w], at a fraction of the padded size.
        padded: what the network saw.
        scaled: the part of it that is picture.
        size: of the picture itself.
    """
    probabilities = classes.float().softmax(-1)[:, :-1].flatten()
    scores, pairs = probabilities.topk(min(BEST, len(probabilities)))
    scores, pairs = scores[scores >= FLOOR], pairs[scores >= FLOOR]
    queries, places = (pairs // len(COCO_CLASSES)).unique(return_inverse=True)
    if not len(queries):
        return []
    logits = _upsampled(masks[queries].float(), padded, scaled, size)
    inside = logits > 0
    certainty = (logits.sigmoid() * inside).flatten(1).sum(1) / (inside.flatten(1).sum(1) + 1e-6)
    scores = scores * certainty[places]
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] >= FLOOR]
    regions = inside.cpu().numpy()
    return [
        Detection(COCO_CLASSES[label], box_of(regions[place]), score, mask=regions[place])
        for label, place, score in zip(
            (pairs[order] % len(COCO_CLASSES)).tolist(), places[order].tolist(), scores[order].tolist(), strict=True
        )
    ]


def box_of(mask: np.ndarray) -> tuple[float, float, float, float]:
    """The smallest box around a mask that is not empty: whole numbers, the last pixel inside."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _upsampled(masks: Tensor, padded: Size, scaled: Size, size: Size) -> Tensor:
    """[n, *size], by way of the padded size, from which the padding is cut."""
    from torch.nn.functional import interpolate

    whole = interpolate(masks[None], size=padded, mode="bilinear", align_corners=False)
    return interpolate(whole[..., : scaled[0], : scaled[1]], size=size, mode="bilinear", align_corners=False)[0]


class Mask2Former:
    """The network, float32; each picture goes through it alone.

    Args:
        network: transformers' Mask2FormerForUniversalSegmentation of COCO's 80 classes, in their order.
        device: torch's name of it.
    """

    def __init__(self, network: Any, device: str) -> None:
        self._network, self._device = network.eval().to(device), device

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """See `LoadedDetector`."""
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> list[Detection]:
        import torch

        inputs, scaled = pixels(image)
        padded, size = (inputs.shape[1], inputs.shape[2]), (image.shape[0], image.shape[1])
        with torch.inference_mode():
            found = self._network(pixel_values=torch.from_numpy(inputs)[None].to(self._device))
            return detections(found.class_queries_logits[0], found.masks_queries_logits[0], padded, scaled, size)
