"""The demo, at a size that takes seconds."""

from __future__ import annotations

from pathlib import Path

from conftest import Cli


def test_demo_trains_evaluates_and_writes_the_page(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("demo", "--steps", 2, "--limit", 6, "--out", tmp_path)
    assert code == 0, err
    assert "counting" in out
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "data:image/png;base64," in page
    tokens = (tmp_path / "tokens" / "soft_tokens.safetensors").read_bytes()
    code, _, err = cli("demo", "--steps", 2, "--limit", 6, "--out", tmp_path)
    assert code == 0, err
    assert (tmp_path / "tokens" / "soft_tokens.safetensors").read_bytes() == tokens
