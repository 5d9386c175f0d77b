"""What comes from the web or goes to people: no plain http, no formulas, no steering of the terminal, no markup."""

from __future__ import annotations

import csv
import http.client
import io
import json
import threading
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import Cli
from data_server import Site, served
from view_runs import EVIL, make_odd_run

from agsm_bench.addresses import https_session
from agsm_bench.data import download
from agsm_bench.errors import MissingError
from agsm_bench.report.csv_cells import guarded, unguarded
from agsm_bench.report.render.csv_file import Record, from_csv, write_csv
from agsm_bench.report.view.build import write_view
from agsm_bench.report.view.serve import server_of
from agsm_bench.scoring.download import get
from agsm_bench.terminal import plain, plain_console
from agsm_bench.weight_files import WeightFile

CONTENT = b"weights"
ESCAPES = (
    "\x1b[31mred \x1b]8;;http://evil.example\x07link\x1b]8;;\x07 \x9b2J \x07\r\x08 \u202egpj.exe [bold]b[/] [/x] :cat:"
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(download, "LONGEST_WAIT", 0.01)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with served(Site(CONTENT)) as site:
        yield site


@pytest.mark.parametrize("url", ["http://192.0.2.1/x", "http://example.invalid/x", "http://localhost.evil.invalid/x"])
def test_plain_http_is_for_this_machine(tmp_path: Path, url: str) -> None:
    """Refused before a connection: these addresses would take long to answer."""
    with https_session() as session, pytest.raises(requests.exceptions.InvalidSchema, match="is not https"):
        session.get(url)
    with pytest.raises(MissingError, match="is not https"):
        download.download(url, tmp_path / "part", 7, lambda *_: None)
    with pytest.raises(MissingError, match="is not https"):
        get(WeightFile("net.pth", url=url, sha256="0" * 64))


def test_no_redirect_leads_to_plain_http(site: Site, tmp_path: Path) -> None:
    site.redirects = [site.url, "http://example.invalid/x"]
    with pytest.raises(MissingError, match=r"http://example.invalid is not https"):
        download.download(site.url, tmp_path / "part", len(CONTENT), lambda *_: None)
    site.redirects = ["file:///etc/passwd"]
    with pytest.raises(MissingError):
        download.download(site.url, tmp_path / "part", len(CONTENT), lambda *_: None)
    site.redirects = [site.url]
    download.download(site.url, tmp_path / "part", len(CONTENT), lambda *_: None)
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_weights_of_another_hash_are_not_kept(site: Site, tmp_path: Path) -> None:
    weight = WeightFile("net.pth", url=site.url, sha256=sha256(CONTENT).hexdigest())
    site.content = b"woights"
    with pytest.raises(MissingError, match="is another file by now"):
        get(weight)
    assert not [path for path in (tmp_path / "torch").rglob("[!.]*") if path.is_file()]
    site.content, site.cut_after = CONTENT, [3]
    assert get(weight).read_bytes() == CONTENT


def test_what_the_hub_sent_is_compared_with_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob, name = tmp_path / "blobs" / sha256(CONTENT).hexdigest(), tmp_path / "snapshots" / "model.pt"
    blob.parent.mkdir()
    name.parent.mkdir()
    name.symlink_to(blob)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(name))
    blob.write_bytes(CONTENT)
    assert get(WeightFile("model.pt", "me/model")) == name
    blob.write_bytes(b"woights")
    with pytest.raises(MissingError, match="arrived damaged"):
        get(WeightFile("model.pt", "me/model"))
    assert not blob.exists()


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\n=1", "'=1", "''-x"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert guarded(text) == f"'{text}"
    assert unguarded(guarded(text)) == text
    record = Record(1, "main", "row", label=text, group="", column="c", heading="", direction="up", published="-0.5")
    (line,) = csv.DictReader(io.StringIO(write_csv([record])))
    assert (line["label"], line["published"]) == (f"'{text}", "-0.5")
    assert from_csv(write_csv([record])) == [record]


def test_a_cell_is_one_row() -> None:
    record = Record(1, "main", "row", label="a\r=1", group="", column="c", heading="", direction="up")
    assert [each.label for each in from_csv(write_csv([record]))] == ["a =1"]


@pytest.mark.parametrize("value", ["a=b", "-0.5", "+1e-3", "-inf", "", "-", "'quoted'", "runs/a", 3, -0.5, None])
def test_other_cells_are_as_they_are(value: Any) -> None:
    assert guarded(value) == value
    assert not isinstance(value, str) or unguarded(value) == value


def test_the_terminal_shows_text() -> None:
    from rich.table import Table

    steering = "\x1b\x9b\x07\x08\r\u202e"
    assert not set(plain(ESCAPES)) & set(steering)
    table = Table(title=ESCAPES)
    table.add_column(ESCAPES)
    table.add_row(ESCAPES)
    console = plain_console(highlight=False, width=200)
    with console.capture() as captured:
        console.print(table)
        console.print(ESCAPES)
    assert not set(captured.get()) & set(steering)
    assert captured.get().count("[bold]b[/] [/x] :cat:") == 4
    assert plain("Zwei Zeilen,\n\tÄ 猫 👩‍🚀") == "Zwei Zeilen,\n\tÄ 猫 👩‍🚀"


def test_names_and_results_of_strangers_on_the_terminal(cli: Cli, tmp_path: Path) -> None:
    for command in (
        ("view", tmp_path / ESCAPES.replace("/", "")),
        ("score", tmp_path / ESCAPES.replace("/", "")),
        ("train", "agsm", "--backbone", ESCAPES),
    ):
        code, out, error = cli(*command)
        assert (code in (2, 3), "Traceback" in error) == (True, False)
        assert not set(out + error) & set("\x1b\x9b\x07\x08\u202e")
    results = tmp_path / "results.jsonl"
    line = {
        "filename": f"{ESCAPES}.png",
        "tag": "[/x]",
        "prompt": ESCAPES,
        "correct": True,
        "reason": "",
        "details": "[]",
    }
    results.write_text(json.dumps(line) + "\n")
    code, out, error = cli("score", "--results", results)
    assert "Traceback" not in error
    assert not set(out + error) & set("\x1b\x9b\x07\x08\u202e")


class Page(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_pages_of_hostile_runs_have_our_tags_alone(cli: Cli, tmp_path: Path) -> None:
    runs = make_odd_run(tmp_path / "<b onclick=x>"), make_odd_run(tmp_path / "other", label=EVIL)
    write_view(runs, tmp_path / "view", lambda *_: None)
    page = Page((tmp_path / "view" / "index.html").read_text())
    assert [tag for tag, _ in page.tags].count("script") == 2
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base", "b"), tag
        assert not [name for name in attributes if name.startswith("on") or name in ("srcdoc", "style", "action")]
        for name in ("href", "src"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,", "data/")), attributes


def test_the_server_answers_this_machine_by_its_names_only(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("page")
    with server_of(tmp_path, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        for method, name, status in (
            ("GET", f"localhost:{port}", 200),
            ("GET", f"127.0.0.1:{port}", 200),
            ("GET", "", 421),
            ("HEAD", "evil.example", 421),
            ("GET", f"127.0.0.1.evil.example:{port}", 421),
            ("GET", f"localhost:{port + 1}", 421),
            ("POST", f"localhost:{port}", 501),
            ("OPTIONS", f"localhost:{port}", 501),
        ):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request(method, "/", headers={"Host": name})
            answer = connection.getresponse()
            assert answer.status == status, (method, name)
            assert answer.headers["Access-Control-Allow-Origin"] is None
        server.shutdown()
