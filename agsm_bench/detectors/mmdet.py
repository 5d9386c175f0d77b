"""Mask2Former Swin-S with mmdet's own weights, through the package mmdet 2.x, where it installs.

What GenEval's evaluator runs. Untested here except for its error without the package: mmcv's operators do not build
beside the versions of torch that the bench needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsm_bench.detector import Detector
from agsm_bench.errors import MissingError
from agsm_bench.geneval_prompts import COCO_CLASSES
from agsm_bench.metric import Files
from agsm_bench.types import Detection
from agsm_bench.weight_files import WeightFile, version_of

if TYPE_CHECKING:
    import numpy as np

NAME = "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco"
"""Of the configuration, and of the checkpoint in GenEval's instructions."""
URL = (
    "https://download.openmmlab.com/mmdetection/v3.0/mask2former/mask2former_swin-s-p4-w7-224_8xb2-lsj-50e_coco/"
    "mask2former_swin-s-p4-w7-224_8xb2-lsj-50e_coco_20220504_001756-c9d0c4f2.pth"
)
CHECKPOINT = WeightFile(f"{NAME}.pth", url=URL, sha256="c9d0c4f2")


class MmdetDetector:
    """mmdet's `inference_detector` on each picture."""

    def __init__(self, network: Any, infer: Any) -> None:
        self._network, self._infer = network, infer

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """See `LoadedDetector`."""
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> list[Detection]:
        boxes, masks = self._infer(self._network, image[..., ::-1].copy())  # mmdet reads BGR
        found = [
            Detection(label, (float(x0), float(y0), float(x1), float(y1)), float(score), mask=mask)
            for label, rows, regions in zip(COCO_CLASSES, boxes, masks, strict=True)
            for (x0, y0, x1, y1, score), mask in zip(rows, regions, strict=True)
        ]
        return sorted(found, key=lambda detection: -detection.score)


def load(files: Files, device: str) -> MmdetDetector:
    """Raises MissingError where mmdet, or a part of it, does not import."""
    try:
        import mmdet
        from mmdet.apis import inference_detector, init_detector
    except ImportError as error:
        raise MissingError(
            f"The detector mmdet needs the package mmdet 2.x with mmcv's operators ({error}).",
            "Use the detector mask2former, which needs neither.",
        ) from error
    config = Path(mmdet.__file__).parent / ".mim" / "configs" / "mask2former" / f"{NAME}.py"
    if not config.is_file():
        raise MissingError(f"This mmdet has no {config.name}: it is not 2.x.", "mim install mmdet==2.27.0")
    return MmdetDetector(init_detector(str(config), str(files[CHECKPOINT.file]), device=device), inference_detector)


def version(files: Files) -> str:
    """Of the weights."""
    return f"mmdet {version_of(files)}"


DETECTOR = Detector("photo", (CHECKPOINT,), load, version, names_colors=False, packages=("mmdet",))
