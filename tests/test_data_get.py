"""`agsm-bench data`: downloads that are cut, files that are wrong, data that is damaged later."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Cli
from data_server import Site, served, zipped
from faults import mounted

from agsm_bench.data import download, table
from agsm_bench.data.places import folder_of, part_of, record_of, state
from agsm_bench.data.table import DATASETS, Dataset

FILES = {f"top/val/{i}.jpg": bytes([i]) * 5000 for i in range(4)}
ARCHIVE = zipped(FILES)
TINY = Dataset(
    name="tiny", holds="four files", licence="none", page="", url="", size=len(ARCHIVE),
    checksum=f"md5:{hashlib.md5(ARCHIVE).hexdigest()}", folder="tiny/val", anchor="0.jpg", files=4,
)  # fmt: skip


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(download, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(download, "CHUNK", 500)
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "data"))
    with served(Site(ARCHIVE)) as site:
        offer(monkeypatch, replace(TINY, url=site.url))
        yield site


def offer(monkeypatch: pytest.MonkeyPatch, data: Dataset) -> None:
    monkeypatch.setattr(table, "DATASETS", {"tiny": data})
    monkeypatch.setattr("agsm_bench.cli.data.DATASETS", {"tiny": data})


def is_whole() -> bool:
    found = {path.name: path.read_bytes() for path in folder_of(TINY).iterdir()}
    return found == {Path(name).name: content for name, content in FILES.items()}


def refused(result: tuple[int, str, str], code: int, *words: str) -> None:
    lines = [line for line in result[2].splitlines() if line.startswith("agsm-bench: ")]
    assert result[0] == code, result
    assert len(lines) == 1
    assert "Traceback" not in result[2]
    for word in words:
        assert word in lines[0]


def test_on_a_full_disk_it_goes_on_as_room_is_made(cli: Cli, site: Site, tmp_path: Path) -> None:
    with mounted(tmp_path / "data", "1m") as disk:
        for tries in range(40):
            disk.leave(4096 * tries)
            result = cli("data", "get", "tiny")
            if result[0] == 0:
                break
            refused(result, 2, str(disk.root), "AGSM_BENCH_DATA")
        assert tries > 2
        assert is_whole()


def test_a_dataset_is_got_once(cli: Cli, site: Site) -> None:
    refused(cli("data", "path", "tiny"), 3, "agsm-bench data get tiny")
    code, out, _ = cli("data", "get", "tiny")
    assert code == 0
    assert "md5 checked" in out
    assert is_whole()
    assert not part_of(TINY).exists()
    code, out, _ = cli("data", "get", "tiny")
    assert (code, len(site.asked)) == (0, 1)
    assert "there already" in out
    assert cli("data", "path", "tiny")[1].strip() == str(folder_of(TINY))
    assert json.loads(cli("data", "list", "--format", "json")[1])[0]["state"] == "there"


def test_a_cut_connection_goes_on_where_it_ended(cli: Cli, site: Site) -> None:
    site.statuses, site.cut_after = [503], [3000, 0, 0, 4000]
    assert cli("data", "get", "tiny")[0] == 0
    assert is_whole()
    assert site.asked == ["bytes=0-", "bytes=0-", "bytes=3000-", "bytes=3000-", "bytes=3000-", "bytes=7000-"]


def test_a_later_call_goes_on_where_the_first_gave_up(cli: Cli, site: Site) -> None:
    site.cut_after = [3000] + [0] * download.TRIES
    refused(cli("data", "get", "tiny"), 3, "again to go on")
    assert state(TINY) == "partly"
    refused(cli("data", "path", "tiny"), 3, "partly")
    site.asked.clear()
    assert cli("data", "get", "tiny")[0] == 0
    assert site.asked == ["bytes=3000-"]
    assert is_whole()


def test_a_server_without_ranges_starts_anew(cli: Cli, site: Site) -> None:
    site.ranges, site.cut_after = False, [3000, 2000]
    assert cli("data", "get", "tiny")[0] == 0
    assert is_whole()


def test_a_file_of_another_size_is_refused_before_it_is_downloaded(cli: Cli, site: Site) -> None:
    site.content = ARCHIVE + b"more"
    refused(cli("data", "get", "tiny"), 3, f"{len(ARCHIVE) + 4:,} bytes")
    assert len(site.asked) == 1


def test_an_absent_file_is_not_asked_for_again(cli: Cli, site: Site) -> None:
    site.statuses = [404]
    refused(cli("data", "get", "tiny"), 3, "404")
    assert len(site.asked) == 1


def test_a_wrong_checksum_is_not_unpacked_and_the_next_call_downloads_anew(cli: Cli, site: Site) -> None:
    site.content = ARCHIVE[:100] + b"\1\1\1" + ARCHIVE[103:]
    refused(cli("data", "get", "tiny"), 3, "md5", "download it anew")
    assert not folder_of(TINY).exists()
    site.content = ARCHIVE
    assert cli("data", "get", "tiny")[0] == 0
    assert is_whole()


def test_without_a_published_checksum_it_says_so(cli: Cli, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, replace(TINY, url=site.url, checksum=None))
    code, out, _ = cli("data", "get", "tiny")
    assert code == 0
    assert "no published checksum: size checked" in out
    assert json.loads(record_of(TINY).read_text())["checksum"] == f"sha256:{hashlib.sha256(ARCHIVE).hexdigest()}"


def test_a_local_copy_needs_no_server(cli: Cli, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, replace(TINY, url=None, size=None, checksum=None, files=None))
    refused(cli("data", "get", "tiny"), 3, "on request", "--from FILE")
    refused(cli("data", "get", "tiny", "--from", tmp_path / "none.zip"), 3, "none.zip")
    assert state(TINY) == "absent"
    (tmp_path / "cut.zip").write_bytes(ARCHIVE[: len(ARCHIVE) // 2])
    assert cli("data", "get", "tiny", "--from", tmp_path / "cut.zip")[0] == 3
    assert state(TINY) == "absent"
    copy = tmp_path / "copy.zip"
    copy.write_bytes(ARCHIVE)
    assert cli("data", "get", "tiny", "--from", copy)[0] == 0
    assert is_whole()
    assert copy.read_bytes() == ARCHIVE
    assert site.asked == []


def test_verify_names_the_damaged_files_and_again_mends_them(cli: Cli, site: Site) -> None:
    refused(cli("data", "verify"), 3, "data get")
    refused(cli("data", "verify", "tiny"), 3, "agsm-bench data get tiny")
    cli("data", "get", "tiny")
    assert cli("data", "verify")[:2] == (0, "tiny: whole\n")
    (folder_of(TINY) / "1.jpg").write_bytes(b"\1" * 4999 + b"\0")
    (folder_of(TINY) / "3.jpg").unlink()
    refused(cli("data", "verify", "tiny"), 1, "2 of 4", "1.jpg, 3.jpg", "--again")
    refused(cli("data", "path", "tiny"), 3, "partly")
    assert cli("data", "get", "tiny", "--again")[0] == 0
    assert is_whole()
    assert cli("data", "verify", "tiny")[0] == 0


def test_a_folder_put_there_by_hand_is_recorded(cli: Cli, site: Site) -> None:
    cli("data", "get", "tiny")
    record_of(TINY).unlink()
    assert state(TINY) == "partly"
    code, out, _ = cli("data", "get", "tiny")
    assert (code, len(site.asked)) == (0, 1)
    assert "not compared" in out
    assert state(TINY) == "there"


def test_unpacking_that_was_killed_is_done_again(cli: Cli, site: Site) -> None:
    part_of(TINY).mkdir(parents=True)
    (part_of(TINY) / "tiny.zip").write_bytes(ARCHIVE)
    (part_of(TINY) / "unpacked" / "top" / "val").mkdir(parents=True)
    (part_of(TINY) / "unpacked" / "top" / "val" / "0.jpg").write_bytes(b"half")
    assert cli("data", "get", "tiny")[0] == 0
    assert is_whole()
    assert site.asked == []


def test_a_small_disk_is_said_before_the_download(cli: Cli, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, replace(TINY, url=site.url, size=shutil.disk_usage("/").total * 10))
    refused(cli("data", "get", "tiny"), 2, "GB are free", "AGSM_BENCH_DATA")
    assert site.asked == []


def test_a_root_that_cannot_be_written(cli: Cli, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "file" / "data"))
    refused(cli("data", "get", "tiny"), 2, "AGSM_BENCH_DATA")


def test_an_unknown_dataset(cli: Cli) -> None:
    refused(cli("data", "get", "coco-val"), 2, "Did you mean 'coco-val2017'?")


def test_the_table_says_how_every_file_is_checked() -> None:
    for name, data in DATASETS.items():
        assert name == data.name
        assert (data.url is None) == (data.size is None)
        algorithm, _, digest = (data.checksum or "").partition(":")
        assert len(digest) == {"md5": 32, "sha256": 64, "": 0}[algorithm]
