"""Mask2Former Swin-S with GenEval's own weights, mmdet's, through transformers: neither mmdet nor mmcv is needed.

The checkpoint's tensors are renamed (`agsm_bench/mmdet_names.py`); `agsm_bench/mask2former.py` lists what differs from
GenEval's evaluator.
"""

from __future__ import annotations

from typing import Any

from agsm_bench.detector import Detector
from agsm_bench.errors import MissingError
from agsm_bench.geneval_prompts import COCO_CLASSES
from agsm_bench.mask2former import VERSION, Mask2Former
from agsm_bench.metric import Files
from agsm_bench.weight_files import WeightFile, version_of

NAME = "mask2former_swin-s-p4-w7-224_8xb2-lsj-50e_coco"
CHECKPOINT = WeightFile(
    f"{NAME}.pth",
    url=f"https://download.openmmlab.com/mmdetection/v3.0/mask2former/{NAME}/{NAME}_20220504_001756-c9d0c4f2.pth",
    sha256="c9d0c4f2",
)
UNUSED = "model.pixel_level_module.encoder.swin.layernorm."
"""Transformers' Swin has a last norm, which plays no part in a backbone, and mmdet's has none; nor has it the loss's
tensor, `criterion.`."""


def config() -> Any:
    """The network of mmdet's configuration: Swin-S, 80 classes, 100 queries."""
    from transformers import Mask2FormerConfig, SwinConfig

    swin = SwinConfig(
        image_size=224,
        patch_size=4,
        embed_dim=96,
        depths=[2, 2, 18, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return Mask2FormerConfig(backbone_config=swin, num_labels=len(COCO_CLASSES))


def load(files: Files, device: str) -> Mask2Former:
    """Raises MissingError for a checkpoint of another model."""
    from transformers import Mask2FormerForUniversalSegmentation

    from agsm_bench.diffusion.loading import quiet
    from agsm_bench.mmdet_names import renamed
    from agsm_bench.state_dicts import read_state

    path = files[CHECKPOINT.file]
    contents = read_state(path)
    tensors = contents.get("state_dict", contents)
    quiet()
    network = Mask2FormerForUniversalSegmentation(config())
    try:
        report = network.load_state_dict(renamed(tensors), strict=False)
        lacking = [key for key in report.missing_keys if not key.startswith(("criterion.", UNUSED))]
        wrong = [f"it lacks {key}" for key in lacking] + [f"it has {key}, too" for key in report.unexpected_keys]
    except (RuntimeError, AttributeError, TypeError) as error:  # other shapes, or no tensors
        wrong = [str(error).strip().splitlines()[-1].strip()]
    if wrong:
        raise MissingError(f"{path} is of another model: {wrong[0]}.", "agsm-bench metrics get mask2former_mmdet")
    return Mask2Former(network, device)


def version(files: Files) -> str:
    """Of the pre- and post-processing and of the weights."""
    return f"{VERSION} {version_of(files)}"


DETECTOR = Detector("photo", (CHECKPOINT,), load, version, names_colors=False)
