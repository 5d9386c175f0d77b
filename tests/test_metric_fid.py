"""FID's features equal clean-fid's and pytorch-fid's on the same random weights, and its way through the pass."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from metric_pictures import check_company, picture, pictures, weight_files
from upstream import folder_of

from agsm_bench.distances import difference
from agsm_bench.errors import MissingError
from agsm_bench.frechet import Statistics
from agsm_bench.identity import read_hash
from agsm_bench.metric import Picture
from agsm_bench.metrics.fid import CLEAN, LEGACY, METRIC, WEIGHTS
from agsm_bench.store import Run


class Layers(torch.nn.Module):
    """In place of the network's own, with the same input and 2048 features."""

    def __init__(self, features: int = 2048) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 32, 9, stride=9)
        self.out = torch.nn.Linear(32 * 4, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = torch.nn.functional.adaptive_avg_pool2d(torch.relu(self.conv(x)), (2, 2))
        return self.out(pooled.flatten(1))


class Scripted(torch.nn.Module):
    def __init__(self, features: int = 2048) -> None:
        super().__init__()
        self.layers = Layers(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pytorch-fid's network with random weights, and a scripted one with the interface of NVIDIA's file."""
    path = tmp_path_factory.mktemp("inception")
    torch.manual_seed(0)
    torch.jit.script(Scripted().eval()).save(str(path / "inception-2015-12-05.pt"))
    with pytest.MonkeyPatch.context() as patch:
        from cleanfid import inception_pytorch

        patch.setattr(inception_pytorch, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr("torchvision.models.Inception3.load_state_dict", lambda self, state: None)
        network = inception_pytorch.fid_inception_v3()
    torch.save(network.state_dict(), path / "pt_inception-2015-12-05-6726825d.pth")
    return path


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Takes the scripted network of a folder for NVIDIA's."""

    def take(where: Path) -> None:
        digest = read_hash(where / "inception-2015-12-05.pt")
        monkeypatch.setitem(vars(WEIGHTS[CLEAN]), "sha256", digest)

    return take


def resized(resize: Any, shown: list[Picture]) -> torch.Tensor:
    """A batch as clean-fid makes it, [n, 3, 299, 299]."""
    return torch.from_numpy(np.stack([resize(np.asarray(each.image)).transpose(2, 0, 1) for each in shown]))


def test_features_of_clean_are_clean_fids(folder: Path, taken: Callable[[Path], None]) -> None:
    taken(folder)
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.resize import build_resizer

    judge = METRIC.load([CLEAN], weight_files(METRIC, CLEAN, folder), "cpu")
    found = check_company(judge, CLEAN, pictures(), 1e-4)
    network, resize = InceptionV3W(str(folder), download=False), build_resizer("clean")
    with torch.inference_mode():
        expected = network(resized(resize, pictures()))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


def test_features_of_legacy_are_clean_fids(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cleanfid import inception_pytorch
    from cleanfid.resize import build_resizer

    files = weight_files(METRIC, LEGACY, folder)
    state = torch.load(files["pt_inception-2015-12-05-6726825d.pth"], weights_only=True)
    monkeypatch.setattr(inception_pytorch, "load_state_dict_from_url", lambda *a, **k: state)
    network, resize = inception_pytorch.InceptionV3([3], resize_input=False).eval(), build_resizer("legacy_pytorch")
    judge = METRIC.load([LEGACY], files, "cpu")
    shown = pictures()[:3]
    found = judge.judge(LEGACY, [judge.prepare(LEGACY, each) for each in shown])
    assert found.shape == (3, 2048)
    with torch.inference_mode():
        expected = network(resized(resize, shown) / 255)[0].flatten(1)
    largest = float(expected.abs().max())
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * largest)
    assert found.std(axis=0).mean() > 1e-3 * largest, "pictures are told apart by much more than the tolerance"


def test_features_of_legacy_are_pytorch_fids_from_the_image_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own class resizes in the network, from 0 to 1."""
    folder_of("pytorch_fid")
    from pytorch_fid import inception

    files = weight_files(METRIC, LEGACY, folder)
    state = torch.load(files["pt_inception-2015-12-05-6726825d.pth"], weights_only=True)
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *a, **k: state)
    network, judge = inception.InceptionV3([3]).eval(), METRIC.load([LEGACY], files, "cpu")
    found = check_company(judge, LEGACY, pictures())
    for features, shown in zip(found, pictures(), strict=True):
        pixels = torch.from_numpy(np.array(shown.image)).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            expected = network(pixels)[0].flatten()
        np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def test_a_checkpoint_without_counters_of_batches_is_the_same(folder: Path, tmp_path: Path) -> None:
    name = "pt_inception-2015-12-05-6726825d.pth"
    state = torch.load(folder / name, weights_only=True)
    torch.save({key: value for key, value in state.items() if "num_batches" not in key}, tmp_path / name)
    one, other = (METRIC.load([LEGACY], weight_files(METRIC, LEGACY, where), "cpu") for where in (folder, tmp_path))
    shown = [one.prepare(LEGACY, pictures()[0])]
    assert (one.judge(LEGACY, shown) == other.judge(LEGACY, shown)).all()


def test_warnings_of_the_process_stay_as_they_were(folder: Path) -> None:
    """clean-fid's resize silences them all."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        METRIC.load([LEGACY], weight_files(METRIC, LEGACY, folder), "cpu")
        assert not [each for each in warnings.filters if each[0] == "ignore" and each[2] is Warning]


def test_no_other_script_is_run(folder: Path) -> None:
    with pytest.raises(MissingError, match="code of another is not run"):
        METRIC.load([CLEAN], weight_files(METRIC, CLEAN, folder), "cpu")


def test_files_of_other_models(tmp_path: Path, taken: Callable[[Path], None]) -> None:
    (tmp_path / "inception-2015-12-05.pt").write_text("no network")
    taken(tmp_path)
    with pytest.raises(MissingError, match="is no Inception network"):
        METRIC.load([CLEAN], weight_files(METRIC, CLEAN, tmp_path), "cpu")
    torch.jit.script(Scripted(10).eval()).save(str(tmp_path / "inception-2015-12-05.pt"))
    taken(tmp_path)
    judge = METRIC.load([CLEAN], weight_files(METRIC, CLEAN, tmp_path), "cpu")
    with pytest.raises(MissingError, match="gives 10 features, and Inception has 2048"):
        judge.judge(CLEAN, [judge.prepare(CLEAN, pictures()[0])])
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "pt_inception-2015-12-05-6726825d.pth")
    with pytest.raises(MissingError, match="is the checkpoint of another model: it lacks"):
        METRIC.load([LEGACY], weight_files(METRIC, LEGACY, tmp_path), "cpu")


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path, taken: Callable[[Path], None]) -> Path:
    """Twelve pictures and twelve references; the cache of statistics in a folder of its own."""
    taken(folder)
    monkeypatch.setattr("agsm_bench.scoring.reference_sets.cache_folder", lambda: tmp_path / "cache")
    for name, seed in (("images", 0), ("references", 100)):
        (tmp_path / name).mkdir()
        for index in range(12):
            picture((40, 30), seed + index).save(tmp_path / name / f"{index}.png")
    return tmp_path


def score(cli: Cli, sets: Path, folder: Path, *arguments: Any) -> dict[str, Any]:
    where = ("--images", sets / "images", "--out", sets / "out", "--device", "cpu", "--json")
    weights = ("--weights", f"{CLEAN}={folder / 'inception-2015-12-05.pt'}")
    code, out, err = cli("score", *where, "--metrics", CLEAN, *weights, *arguments)
    assert code == 0, err
    summary: dict[str, Any] = json.loads(out)
    return summary


def test_a_distance_through_the_command_line(cli: Cli, sets: Path, folder: Path) -> None:
    summary = score(cli, sets, folder, "--references", sets / "references")
    found = summary["metrics"][CLEAN]
    assert 0 <= found["low"] < found["value"] < found["high"]
    assert (found["n"], found["unscored"]) == (12, 0)
    assert [text for text in summary["warnings"] if "12 for 2048 features" in text]
    (cached,) = (sets / "cache").glob("*.npz")
    assert Statistics.load(cached).n == 12
    assert score(cli, sets, folder, "--references", cached)["metrics"][CLEAN] == found
    itself = score(cli, sets, folder, "--references", sets / "images")["metrics"][CLEAN]["value"]
    assert itself == pytest.approx(0, abs=1e-6 * found["value"])


def test_a_reference_that_is_no_picture_is_named(cli: Cli, sets: Path, folder: Path) -> None:
    (sets / "references" / "3.png").write_text("no picture")
    weights = ("--weights", f"{CLEAN}={folder / 'inception-2015-12-05.pt'}", "--device", "cpu")
    where = ("--images", sets / "images", "--out", sets / "out", "--references", sets / "references")
    code, _, err = cli("score", *where, "--metrics", CLEAN, *weights)
    assert code == 3
    assert "3.png has no features: the image: it is no picture" in " ".join(err.split())


def test_a_distance_of_a_run_and_its_warning_reach_the_report(cli: Cli, sets: Path, folder: Path) -> None:
    from paired_runs import make_run

    run = sets / "run"
    make_run(run, 1.0)
    how = ("--metrics", CLEAN, "--weights", f"{CLEAN}={folder / 'inception-2015-12-05.pt'}", "--device", "cpu")
    code, out, err = cli("score", run, *how, "--references", sets / "references")
    assert code == 0, err
    summary = json.loads((run / "summary.json").read_text())
    assert summary["metrics"][CLEAN]["n"] == 48
    assert "48 for 2048 features" in " ".join(summary["warnings"])
    assert "48 for 2048 features" in " ".join(out.split())
    cli("score", run)  # which does not measure it, keeps it with its warning
    again = json.loads((run / "summary.json").read_text())
    assert (again["metrics"][CLEAN], again["warnings"]) == (summary["metrics"][CLEAN], summary["warnings"])
    itself = difference(CLEAN, Run.open(run), Run.open(run))  # by its stored features and the cached statistics
    assert (itself.error, itself.clusters, itself.n) == (0.0, 24, 48)
