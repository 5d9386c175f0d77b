"""The README's Python example, as it is pasted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from agsm_bench.backbones.shapes_mmdit import BACKBONE
from agsm_bench.tokens import SoftTokens, save_tokens

ROOT = Path(__file__).parents[1]


def test_the_python_example_makes_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    save_tokens(SoftTokens(BACKBONE.tokens), tmp_path / "runs" / "agsm", {})
    (tmp_path / "agsm_bench").symlink_to(ROOT / "agsm_bench")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(found[1], names)
    assert names["image"].size == (24, 24)  # type: ignore[attr-defined]


def test_the_workflow_example_is_one_that_github_reads() -> None:
    found = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    workflow = yaml.safe_load(found[1])
    steps = workflow["jobs"]["regression"]["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    for file in re.findall(r"results/baselines/\S+\.json", found[1]):
        assert (ROOT / file).is_file()
