"""PIE-Bench on photographs: values by hand, and files whose entries are wrong in many ways."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmark_data import entry, pictures, recorded, save_clip, scores_of, summary_of, write_pie
from conftest import Cli
from photo_tiny import SIZE
from PIL import Image

from agsm_bench import pie
from agsm_bench.images import open_rgb

ALL = 512 * 512
RUNS = [start for row in range(64, 320) for start in (row * 512 + 96, 256)]
"""A block of 256 x 256 pixels."""
MAPPING = {
    "000000000000": entry("000000000000", 6, RUNS),
    "000000000001": entry("000000000001", 6, [100 * 512, 100 * 512]),
    "000000000002": entry("000000000002", 1, RUNS),
    "000000000003": entry("000000000003", 2, RUNS),
    "000000000004": entry("000000000004", 8, [0, ALL]),
    "000000000005": entry("000000000005", 9, [ALL - 100 * 512, 200 * 512]),
}
SIZES: dict[str, tuple[int, int] | None] = {
    "000000000000": (64, 64),
    "000000000001": (SIZE, SIZE),
    "000000000002": None,
    "000000000003": (40, 32),
    "000000000004": (64, 64),
    "000000000005": (512, 512),
}
WRONG = {
    "100": (entry("100", 0, [5]), "pairs of whole numbers"),
    "101": (entry("101", 0, [5, -1]), "negative"),
    "102": (entry("102", 0, [ALL, 1]), "begins beyond 512 x 512"),
    "103": (entry("103", 0, [], editing_type_id="10"), "editing_type_id is '10'"),
    "104": (entry("104", 0, [], editing_prompt=None), "no text in editing_prompt"),
    "104b": (entry("104", 0, [], editing_prompt="half \ud800"), "no text in editing_prompt"),
    "105": (entry("105", 0, [0.5, 1]), "pairs of whole numbers"),
    "../106": (entry("106", 0, []), "cannot be a file's name"),
    "a" * 201: (entry("106", 0, []), "cannot be a file's name"),
    "106\n": (entry("106", 0, []), "cannot be a file's name"),
    "\ud800": (entry("106", 0, []), "cannot be a file's name"),
    "107": (["a list"], "no object"),
    "108": ({**entry("108", 0, []), "mask": "0 5"}, "pairs of whole numbers"),
    "109": ({**entry("109", 0, []), "mask": ""}, "pairs of whole numbers"),
    "110": (entry("110", 0, [], image_path="../../secret.png"), "no path below the pictures' folder"),
    "111": (entry("111", 0, [], image_path="/secret.png"), "no path below the pictures' folder"),
}
PIXELS = "psnr/unedited,ssim/unedited,mse/unedited"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "data"
    monkeypatch.setenv("AGSM_BENCH_DATA", str(root))
    text = json.dumps(MAPPING | {key: wrong for key, (wrong, _) in WRONG.items()})
    again = json.dumps({"000000000001": entry("000000000001", 3, [])})
    write_pie(root, MAPPING, SIZES, text=f"{text[:-1]}, {again[1:]}")
    return root


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


def command(models: dict[str, Path], name: str, out: Path, *more: object) -> list[object]:
    model = ["--backbone", name, "--model", models[name], "--size", SIZE, "--device", "cpu"]
    return ["eval", "pie", *model, "--steps", 1, *more, "--out", out]


def kept(key: str) -> np.ndarray:
    """bool [SIZE, SIZE], False where a picture is edited: nearest pixels of the mask, and the border, read slowly."""
    mask, step, inner = slow_mask(MAPPING[key]["mask"]), 512 // SIZE, range(1, SIZE - 1)
    return np.array(
        [
            [y in inner and x in inner and not mask[int((y + 0.5) * step)][int((x + 0.5) * step)] for x in range(SIZE)]
            for y in range(SIZE)
        ]
    )


def slow_mask(pairs: list[int]) -> list[list[bool]]:
    flat = [False] * ALL
    for start, length in zip(pairs[::2], pairs[1::2], strict=True):
        for place in range(start, min(start + length, ALL)):
            flat[place] = True
    mask = [flat[row * 512 : row * 512 + 512] for row in range(512)]
    mask[0], mask[511] = [True] * 512, [True] * 512
    for row in mask:
        row[0] = row[511] = True
    return mask


@pytest.mark.parametrize("pairs", [[], RUNS, [0, ALL], [ALL - 3, 50], [ALL - 1, 1], [700, 0, 5, 700, 300, 1000]])
def test_a_mask_is_what_a_slow_reading_gives(pairs: list[int]) -> None:
    np.testing.assert_array_equal(pie.decode_mask(pairs), slow_mask(pairs))


def test_values_and_what_is_wrong_with_the_data(
    cli: Cli, tiny_models: dict[str, Path], clip: Path, data: Path, tmp_path: Path
) -> None:
    names = f"{PIXELS},clip/openai-l14,clip/openai-l14-edited"
    weights = [f"--weights={name}={clip}" for name in ("clip/openai-l14", "clip/openai-l14-edited")]
    asked = command(tiny_models, "sd15", tmp_path / "run", "--metrics", names, *weights)
    code, _, error = cli(*asked)
    assert code == 0, error
    summary, scores = summary_of(tmp_path / "run"), scores_of(tmp_path / "run")
    assert (summary["expected"], summary["complete"], summary["limited"]) == (6, True, False)
    made = pictures(tmp_path / "run")
    assert made.keys() == {f"{key}/0000" for key in MAPPING if key[-1] not in "23"}

    warned = summary["warnings"]
    for key, (_, words) in WRONG.items():
        (line,) = [text for text in warned if f" {key if key.isprintable() else ascii(key)}: " in text]
        assert words in line
        assert "the entry is left out" in line
    odd = ["000000000001 twice; the first counts", "000000000002.jpg is not there", "5: its mask is clipped"]
    odd += [
        f"{key}.jpg is {size[0]} x {size[1]}, not 512 x 512" for key, size in SIZES.items() if size and key[-1] != "5"
    ]
    for words in odd:
        assert any(words in text for text in warned), words
    assert len(warned) == len(WRONG) + len(odd), warned

    reasons = {(line["sample_id"][11], line["metric"]): line["reason"] for line in summary["unscored_samples"]}
    for metric in names.split(","):
        assert "FileNotFoundError" in reasons.pop(("2", metric))
        assert reasons.pop(("3", metric)) == "its source: it is 40 x 32, not square"
        if metric in PIXELS:
            assert reasons.pop(("4", metric)) == "nothing of the picture is outside its mask"
    assert not reasons
    assert summary["unscored"] == 3

    errors = {}
    for key in ("000000000000", "000000000001", "000000000005"):
        with Image.open(data / "pie-bench" / "annotation_images" / MAPPING[key]["image_path"]) as image:
            source = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        both = [
            np.asarray(each, float) / 255 * kept(key)[..., None] for each in (source, open_rgb(made[f"{key}/0000"]))
        ]
        errors[key] = float(np.square(both[0] - both[1]).mean())
        assert scores[f"{key}/0000", "mse/unedited"]["value"] == pytest.approx(errors[key], abs=1e-6)
    psnr = {key: -10 * np.log10(value) for key, value in errors.items()}
    metrics = summary["metrics"]
    for name, keys, unscored in (("", list(psnr), 3), ("[color]", list(psnr)[:2], 0)):
        found = metrics[f"psnr/unedited{name}"]
        assert found["value"] == pytest.approx(np.mean([psnr[key] for key in keys]), abs=1e-3)
        assert (found["n"], found["unscored"]) == (len(keys), unscored)
    style = metrics["psnr/unedited[style]"]
    assert (style["value"], style["n"], style["unscored"]) == (None, 1, 0), "one edit gives no interval"
    for kind, unscored in (("change_object", 1), ("add_object", 1), ("background", 1)):
        assert metrics[f"psnr/unedited[{kind}]"]["value"] is None
        assert (metrics[f"psnr/unedited[{kind}]"]["n"], metrics[f"psnr/unedited[{kind}]"]["unscored"]) == (0, unscored)
    assert (metrics["clip/openai-l14"]["n"], metrics["clip/openai-l14"]["unscored"]) == (4, 2)
    assert {name.partition("[")[0] for name in metrics} == set(names.split(","))

    before = (tmp_path / "run" / "scores.jsonl").read_bytes()
    assert cli(*asked)[0] == 0
    assert (tmp_path / "run" / "scores.jsonl").read_bytes() == before
    assert summary_of(tmp_path / "run") == summary


def test_a_picture_that_came_later_is_edited(
    cli: Cli, tiny_models: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    asked = command(tiny_models, "sd15", tmp_path / "run", "--metrics", "mse/unedited")
    assert cli(*asked)[0] == 0
    path = data / "pie-bench" / "annotation_images" / MAPPING["000000000003"]["image_path"]
    with Image.open(path) as image:
        image.resize((32, 32)).save(path, "PNG")
    assert cli(*asked)[0] == 0
    found = summary_of(tmp_path / "run")["metrics"]["mse/unedited"]
    assert (found["n"], found["unscored"]) == (4, 2)


def test_without_any_picture_every_edit_is_unscored(
    cli: Cli, tiny_models: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    for path in (data / "pie-bench" / "annotation_images").rglob("*.jpg"):
        path.unlink()
    recorded("pie-bench")
    code, said, error = cli(*command(tiny_models, "sd15", tmp_path / "run", "--metrics", PIXELS))
    assert code == 0, error
    assert "UNSCORED: 6 images" in said
    summary = summary_of(tmp_path / "run")
    assert (summary["scored"], summary["unscored"], len(summary["unscored_samples"])) == (0, 6, 18)
    assert all(line["reason"].startswith("its source: FileNotFoundError") for line in summary["unscored_samples"])


def test_prompts_have_no_brackets_and_pictures_any_size(data: Path) -> None:
    reading = pie.read_mapping(data / "pie-bench")
    assert [prompt.id for prompt in reading.prompts] == list(MAPPING)
    first = reading.prompts[0]
    assert first.text == "a red picture of aaaaaaaaaaaa"
    assert (first.tag, first.requirement["source"]) == ("color", "a plain picture of aaaaaaaaaaaa")
    given = pie.given(first, 48)
    assert given.mask
    assert open_rgb(given.picture()).size == open_rgb(given.mask()).size == (48, 48)
    assert given.key != pie.given(first, 512).key != pie.given(reading.prompts[1], 512).key
    whole = pie.given(first, 512).mask
    assert whole
    np.testing.assert_array_equal(np.asarray(open_rgb(whole()))[..., 0] > 0, slow_mask(MAPPING[first.id]["mask"]))


def test_edits_are_scored_later_and_do_not_depend_on_their_batch(
    cli: Cli, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    made = []
    for size in (1, 3):
        asked = ["--metrics", "none", "--batch-size", size]
        assert cli(*command(tiny_models, "sd15", tmp_path / str(size), *asked))[0] == 0
        made.append(pictures(tmp_path / str(size)))
    assert made[0] == made[1]
    code, _, error = cli("score", tmp_path / "1", "--metrics", PIXELS)
    assert code == 0, error
    found = summary_of(tmp_path / "1")["metrics"]["psnr/unedited"]
    assert (found["n"], found["unscored"]) == (3, 3)


def test_edits_made_elsewhere(cli: Cli, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """A folder of `ID.png` is scored as the run that they are of."""
    run, folder = tmp_path / "run", tmp_path / "theirs"
    assert cli(*command(tiny_models, "sd15", run, "--metrics", PIXELS))[0] == 0
    folder.mkdir()
    for sample, png in pictures(run).items():
        (folder / f"{sample[:12]}.png").write_bytes(png)
    more = ["--benchmark", "pie", "--metrics", PIXELS, "--out", tmp_path / "again"]
    code, _, error = cli("score", "--images", folder, *more)
    assert code == 0, error
    ours, theirs = scores_of(run), scores_of(tmp_path / "again")
    assert theirs
    assert {key: line["value"] for key, line in theirs.items()} == {key: ours[key]["value"] for key in theirs}
    assert "2 of 6 images are missing, first 000000000002/0000" in " ".join(summary_of(tmp_path / "again")["warnings"])
    code, _, error = cli("score", "--images", folder, *more, "--masks", folder)
    assert (code, "A benchmark has its own prompts, masks and references." in error) == (2, True)


def test_without_data_or_weights_nothing_starts(
    cli: Cli, tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    code, _, error = cli(*command(tiny_models, "sd15", tmp_path / "run"))
    assert code == 3
    weights = (
        "image_reward/v1.0",
        "pickscore/v1",
        "clip/openai-l14",
        "hpsv2/v2.1",
        "lpips/squeeze",
        "structure/dino-b8",
    )
    for words in (*(f"agsm-bench metrics get {name}" for name in weights), "data get pie-bench --from FILE"):
        assert words in error, error
    assert not (tmp_path / "run").exists()
