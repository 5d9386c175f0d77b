"""`agsm-bench data` where something is there already: damaged, of other people, or from somebody in between."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Cli
from data_server import Site
from test_data_get import ARCHIVE, FILES, TINY, is_whole, offer, refused, site

from agsm_bench.data.places import folder_of, part_of, record_of
from agsm_bench.locking import alone

__all__ = ["site"]  # a fixture


def test_a_damaged_record_is_mended_by_again_and_hides_nothing_else(cli: Cli, site: Site) -> None:
    cli("data", "get", "tiny")
    record_of(TINY).write_text("{")
    assert json.loads(cli("data", "list", "--format", "json")[1])[0]["state"] == "partly"
    refused(cli("data", "verify"), 1, "is damaged", "--again")
    assert cli("data", "get", "tiny", "--again")[0] == 0
    assert cli("data", "verify")[0] == 0


@pytest.mark.parametrize("recorded", ["got", "found", "never"])
def test_what_others_put_beside_it_stays(cli: Cli, site: Site, recorded: str) -> None:
    """COCO's annotations come with instances, too, and who has them may need them."""
    cli("data", "get", "tiny")
    mine = folder_of(TINY) / "notes" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    if recorded != "got":
        record_of(TINY).unlink()
    if recorded == "found":
        record_of(TINY).write_text(json.dumps({"source": "found", "files": {"0.jpg": "", "notes/mine.txt": ""}}))
    (folder_of(TINY) / "link").symlink_to(mine.parent)
    (folder_of(TINY) / "dangling").symlink_to("nowhere")
    (folder_of(TINY) / "1.jpg").write_bytes(b"damaged")
    for _ in range(2):  # what was kept once is still not the dataset's
        assert cli("data", "get", "tiny", "--again")[0] == 0
        assert mine.read_text() == "mine"
        assert (folder_of(TINY) / "link" / "mine.txt").read_text() == "mine"
        assert (folder_of(TINY) / "dangling").is_symlink()
    assert (folder_of(TINY) / "1.jpg").read_bytes() == FILES["top/val/1.jpg"]
    mine.write_text("edited")
    assert cli("data", "verify")[0] == 0


def test_a_kill_between_the_two_moves_loses_nothing(cli: Cli, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("data", "get", "tiny")
    (folder_of(TINY) / "mine.txt").write_text("mine")
    moves, replace_ = [], os.replace

    def dying(source: Path, target: Path) -> None:
        if Path(target) == folder_of(TINY):
            raise KeyboardInterrupt
        moves.append(target)
        replace_(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("agsm_bench.data.get.os.replace", dying)
        assert cli("data", "get", "tiny", "--again")[0] == 130
    assert moves
    assert not folder_of(TINY).exists()
    assert cli("data", "get", "tiny")[0] == 0
    assert (folder_of(TINY) / "mine.txt").read_text() == "mine"


def test_a_stray_file_does_not_make_a_whole_folder_partly(
    cli: Cli, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, replace(TINY, url=site.url, wanted=("*.jpg",)))
    cli("data", "get", "tiny")
    record_of(TINY).unlink()
    (folder_of(TINY) / ".DS_Store").write_text("")
    assert "not compared" in cli("data", "get", "tiny")[1]
    assert len(site.asked) == 1


def test_a_link_is_not_replaced(cli: Cli, site: Site, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder_of(TINY).parent.mkdir(parents=True)
    folder_of(TINY).symlink_to(tmp_path / "elsewhere")
    refused(cli("data", "get", "tiny"), 2, "is a link", "rm ")
    assert site.asked == []
    assert folder_of(TINY).is_symlink()


def test_many_damaged_files_are_counted(cli: Cli, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agsm_bench.data.places.SHOWN", 2)
    cli("data", "get", "tiny")
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        (folder_of(TINY) / name).write_bytes(b"")
    refused(cli("data", "verify", "tiny"), 1, "3 of 4", "0.jpg, 1.jpg and 1 more")


def test_data_on_request_is_mended_from_a_file(cli: Cli, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("data", "get", "tiny")
    offer(monkeypatch, replace(TINY, url=None, size=None, checksum=None))
    (folder_of(TINY) / "1.jpg").unlink()
    refused(cli("data", "verify", "tiny"), 1, "agsm-bench data get tiny --again --from FILE")


def test_a_page_of_somebody_in_between_is_no_beginning(cli: Cli, site: Site) -> None:
    site.pages = [b"<html>Accept our terms</html>"] * 2
    assert cli("data", "get", "tiny")[0] == 0
    assert is_whole()
    assert site.asked == ["bytes=0-"] * 3


def test_nor_does_it_take_what_is_there(cli: Cli, site: Site) -> None:
    part_of(TINY).mkdir(parents=True)
    (part_of(TINY) / "tiny.zip").write_bytes(ARCHIVE[:3000])
    site.pages = [b"<html>Accept our terms</html>"]
    assert cli("data", "get", "tiny")[0] == 0
    assert is_whole()
    assert site.asked == ["bytes=3000-"] * 2


def test_another_part_than_was_asked_for_is_not_taken(cli: Cli, site: Site) -> None:
    site.cut_after, site.skip = [3000], [0, 7]
    assert cli("data", "get", "tiny")[0] == 0
    assert is_whole()


def test_one_plain_file_may_have_any_name(
    cli: Cli, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = replace(TINY, checksum=f"md5:{hashlib.md5(b'a,b').hexdigest()}", size=3, anchor="list.csv", files=1)
    offer(monkeypatch, plain)
    (tmp_path / "download").write_bytes(b"a,b")
    assert cli("data", "get", "tiny", "--from", tmp_path / "download")[0] == 0
    assert (folder_of(TINY) / "list.csv").read_bytes() == b"a,b"


def test_one_call_at_a_time(cli: Cli, site: Site, tmp_path: Path) -> None:
    lock = tmp_path / "data" / ".parts" / "tiny.lock"
    lock.parent.mkdir(parents=True)
    with alone(lock, "tiny"):
        refused(cli("data", "get", "tiny"), 2, "Wait until it ends")
    assert cli("data", "get", "tiny")[0] == 0
