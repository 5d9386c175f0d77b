"""Detectors as plugins: listed, their weights downloaded, those that need no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Cli
from metric_pictures import picture

from agsm_bench import plugins
from agsm_bench.detector import Detector
from agsm_bench.errors import MissingError


def test_detectors_are_plugins(cli: Cli) -> None:
    found: dict[str, Detector] = {name: plugins.load("detectors", name) for name in plugins.names("detectors")}
    assert {name: (d.domain, d.names_colors) for name, d in found.items()} == {
        "mask2former": ("photo", False),
        "mask2former_mmdet": ("photo", False),
        "mmdet": ("photo", False),
        "shapes": ("shapes", True),
    }
    code, out, _ = cli("list", "detectors")
    assert (code, out.count("\n")) == (0, 4)
    assert "shapes" in cli("list")[1]


def test_weights_of_detectors_are_got_like_those_of_metrics(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    code, out, _ = cli("metrics", "get", "shapes", "psnr")
    assert (code, out) == (0, "shapes needs no weights.\npsnr needs no weights.\n")
    code, _, err = cli("metrics", "get", "mask2former")
    assert (code, "facebook/mask2former-swin-small-coco-instance" in "".join(err.split())) == (3, True)
    assert cli("metrics", "get", "mask3former")[0] == 2
    checkpoint = tmp_path / "hub" / "checkpoints" / plugins.load("detectors", "mmdet").weights[0].file
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"there already")
    assert cli("metrics", "get", "mmdet")[:2] == (0, f"mmdet: {checkpoint}\n")


def test_the_shapes_worlds_detector() -> None:
    from agsm_bench.shapes.detector import VERSION, detect
    from agsm_bench.shapes.render import render
    from agsm_bench.shapes.scene import Scene, SceneObject

    detector: Detector = plugins.load("detectors", "shapes")
    images = [np.asarray(picture((24, 24), 5)), render(Scene((SceneObject("cross", "red", 12.0, 9.0, 8.0),)))]
    assert detector.load({}, "cpu").detect(images) == [detect(image) for image in images]
    assert [(d.label, d.color) for d in detector.load({}, "cpu").detect(images)[1]] == [("cross", "red")]
    assert detector.version({}) == VERSION


def test_mmdet_says_that_it_is_absent() -> None:
    detector: Detector = plugins.load("detectors", "mmdet")
    with pytest.raises(MissingError, match=r"needs the package mmdet 2\.x") as caught:
        detector.load({}, "cpu")
    assert "mask2former" in caught.value.fix
