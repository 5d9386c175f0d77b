"""Mask2Former Swin-S on COCO, GenEval's detector of photographs, through transformers.

The weights are those of Mask2Former's authors, from the hub; GenEval loads those that mmdet's authors trained. The
network is the same, so scores of a whole benchmark should be close, and verdicts of single images can differ: the
detector `mask2former_mmdet` has GenEval's. `agsm_bench/mask2former.py` lists what else differs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agsm_bench.damage import DAMAGED
from agsm_bench.detector import Detector
from agsm_bench.errors import MissingError
from agsm_bench.geneval_prompts import COCO_CLASSES
from agsm_bench.mask2former import VERSION, Mask2Former
from agsm_bench.metric import Files
from agsm_bench.weight_files import WeightFile, version_of

if TYPE_CHECKING:
    from pathlib import Path

REPO = "facebook/mask2former-swin-small-coco-instance"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
AGAIN = "Delete it, then agsm-bench metrics get mask2former"

OTHER_NAMES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "tvmonitor": "tv",
    "mouse": "computer mouse",
    "remote": "tv remote",
    "keyboard": "computer keyboard",
}
"""COCO's own names, and those of the hub's list for detectors, that are not GenEval's."""


def _network(files: Files) -> Any:
    """From its files; raises MissingError for those of another model.

    transformers renames the tensors, which the hub has under the names of an earlier release.
    """
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    from agsm_bench.diffusion.loading import quiet
    from agsm_bench.state_dicts import read_state

    check_config(files[CONFIG])
    quiet()
    network, report = Mask2FormerForUniversalSegmentation.from_pretrained(
        None,
        config=Mask2FormerConfig.from_json_file(files[CONFIG]),
        state_dict=read_state(files[WEIGHTS]),
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below, with the file's name
    )
    _check_report(report, files[WEIGHTS])
    return network


def check_config(path: Path) -> None:
    """Raises MissingError unless it is of a Mask2Former with COCO's 80 classes in their order."""
    try:
        config = json.loads(path.read_text("utf-8"))
        kind, named = config["model_type"], config["id2label"]
        given = [named[str(index)] for index in range(len(named))]
        if not all(isinstance(name, str) for name in given):
            raise TypeError("a class is no text")
    except DAMAGED as error:
        raise MissingError(f"{path} is no configuration of a detector ({type(error).__name__}).", AGAIN) from error
    wrong = None
    if kind != "mask2former":
        wrong = f"its kind is {kind}"
    elif len(given) != len(COCO_CLASSES):
        wrong = f"it has {len(given)} classes, and {len(COCO_CLASSES)} are expected"
    elif others := [pair for pair in zip(given, COCO_CLASSES, strict=True) if _differ(*pair)]:
        wrong = f"it has the class {others[0][0]} where {others[0][1]} is expected"
    if wrong:
        raise MissingError(f"{path} is of another model: {wrong}.", AGAIN)


def _differ(given: str, ours: str) -> bool:
    """Whether they are two classes; spaces do not count."""
    return OTHER_NAMES.get(given, given).replace(" ", "") != ours.replace(" ", "")


def _check_report(report: dict[str, Any], path: Path) -> None:
    """Raises MissingError for the first tensor that is missing, left over or of another shape.

    The loss has one, which plays no part here, and older checkpoints list window positions, which are no weights.
    """
    shapes = sorted(key for key, *_ in report["mismatched_keys"] if not key.startswith("criterion."))
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("criterion."))
    left = sorted(key for key in report["unexpected_keys"] if not key.endswith("relative_position_index"))
    for keys, says in ((missing, "it lacks {}"), (shapes, "{} has another shape"), (left, "it has {}, too")):
        if keys:
            raise MissingError(f"{path} is of another model: {says.format(keys[0])}.", AGAIN)


def load(files: Files, device: str) -> Mask2Former:
    """From the hub's files; raises MissingError for those of another model."""
    return Mask2Former(_network(files), device)


def version(files: Files) -> str:
    """Of this file and of the weights."""
    return f"{VERSION} {version_of(files)}"


DETECTOR = Detector(
    domain="photo",
    weights=tuple(WeightFile(file, REPO) for file in (CONFIG, WEIGHTS)),
    load=load,
    version=version,
    names_colors=False,
)
