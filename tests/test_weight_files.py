"""Weight files of metrics: found in the caches or where the user says, checked, and downloaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import Cli

from agsm_bench.errors import MissingError, UserError
from agsm_bench.locking import alone
from agsm_bench.scoring.download import get
from agsm_bench.weight_files import WeightFile, are_there, find, version_of

CONTENTS = b"weights"
DIGEST = sha256(CONTENTS).hexdigest()


@pytest.fixture(autouse=True)
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file's blob has its hash as a name; it is not read for it."""
    root = tmp_path / "models--someone--model"
    blob, snapshot = root / "blobs" / DIGEST, root / "snapshots" / "abc"
    for folder in (blob.parent, snapshot, root / "refs"):
        folder.mkdir(parents=True)
    blob.write_bytes(b"contents that nobody reads")
    (snapshot / "model.pt").symlink_to(blob)
    (root / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    there, absent = WeightFile("model.pt", "someone/model", sha256=DIGEST), WeightFile("other.pt", "someone/model")
    assert there.located() == snapshot / "model.pt"
    assert find("m", [there]) == {"model.pt": snapshot / "model.pt"}
    assert not are_there([there, absent])
    with pytest.raises(MissingError, match=r"m needs other.pt, which is not on this machine") as caught:
        find("m", [there, absent])
    assert caught.value.fix == "agsm-bench metrics get m"


def test_files_and_folders_that_the_user_gives(tmp_path: Path) -> None:
    (tmp_path / "mine.bin").write_bytes(CONTENTS)
    single, two = [WeightFile("model.pt")], [WeightFile("model.pt"), WeightFile("mine.bin")]
    assert find("m", single, tmp_path / "mine.bin") == {"model.pt": tmp_path / "mine.bin"}
    with pytest.raises(MissingError, match=r"m needs model.pt, which is not in"):
        find("m", two, tmp_path)
    (tmp_path / "model.pt").write_bytes(CONTENTS)
    assert set(find("m", two, tmp_path)) == {"model.pt", "mine.bin"}


def test_another_file_of_the_name(torch_home: Path) -> None:
    torch_home.mkdir(parents=True)
    (torch_home / "net.pth").write_bytes(b"other weights")
    weight = WeightFile("net.pth", sha256=DIGEST[:8])
    with pytest.raises(MissingError, match=f"not with {DIGEST[:8]}"):
        find("m", [weight])
    (torch_home / "net.pth").write_bytes(CONTENTS)
    assert find("m", [weight])


def test_the_version_changes_with_every_file(tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("a", "b")}
    for path in paths.values():
        path.write_bytes(CONTENTS)
    before = version_of(paths)
    assert before == version_of(dict(reversed(paths.items())))
    paths["b"].write_bytes(b"others")
    assert before != version_of(paths)
    assert version_of({}) is None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "net.pth").write_bytes(CONTENTS)
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "www")
    with ThreadingHTTPServer(("localhost", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://localhost:{serving.server_port}"
        serving.shutdown()


def test_a_download_is_checked_and_done_once(server: str, torch_home: Path) -> None:
    weight = WeightFile("net.pth", url=f"{server}/net.pth", sha256=DIGEST[:8])
    assert get(weight).read_bytes() == CONTENTS
    assert get(WeightFile("net.pth", url="http://localhost:1/gone")) == torch_home / "net.pth"
    for wrong, words in (
        (WeightFile("new.pth", url=f"{server}/net.pth", sha256="00000000"), "is another file by now"),
        (WeightFile("new.pth", url=f"{server}/absent.pth"), "cannot be downloaded"),
    ):
        with pytest.raises(MissingError, match=words):
            get(wrong)
        assert [path.name for path in torch_home.glob("[!.]*")] == ["net.pth"]


def test_two_do_not_download_a_file_at_once(server: str, torch_home: Path) -> None:
    weight = WeightFile("net.pth", url=f"{server}/net.pth", sha256=DIGEST)
    torch_home.mkdir(parents=True)
    with (
        alone(torch_home / ".net.pth.lock", "net.pth"),
        pytest.raises(UserError, match=r"net.pth is being written by process \d+"),
    ):
        get(weight)
    assert get(weight).read_bytes() == CONTENTS


def test_get_says_what_it_cannot(cli: Cli) -> None:
    code, out, _ = cli("metrics", "get", "psnr")
    assert (code, out) == (0, "psnr needs no weights.\n")
    code, _, err = cli("metrics", "get", "pickscore/v1")
    assert (code, "pickscore" in err.lower(), "Traceback" in err) == (3, True, False)
    assert cli("metrics", "get", "pickscore")[0] == 2
