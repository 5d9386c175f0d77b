"""Damaged answers of servers: of data, and of a judge."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest
from fuzzing import Kind, damaging, fuzz

from agsm_bench.data import download
from agsm_bench.unigenbench.endpoint import Endpoint, JudgeError

BODY = b"0123456789" * 20
ENDLESS = 2**26
"""Bytes after which a server gives up an answer without end."""


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """An address where every request gets these very bytes."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, suppress(OSError):
                    connection.settimeout(2)
                    connection.recv(1 << 16)
                    connection.sendall(answer)

    Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def written(answer: bytes) -> Callable[[Path], Path]:
    """The answer in a file, to be damaged as one."""

    def make(folder: Path) -> Path:
        (folder / "answer").write_bytes(answer)
        return folder / "answer"

    return make


def read_data(path: Path) -> None:
    """What has arrived is no more than was asked for."""
    part = path.with_name("part")
    try:
        with answering(path.read_bytes()) as url:
            download.download(f"{url}/file", part, len(BODY), lambda *_: None)
        assert part.stat().st_size == len(BODY)
    finally:
        assert part.stat().st_size <= len(BODY)
        part.unlink()


def read_judge(path: Path) -> None:
    """An image without an answer is unscored, for a reason in words."""
    with answering(path.read_bytes()) as url:
        endpoint = Endpoint(f"{url}/v1/chat/completions", "judge", 2.0, 0, 0.0)
        try:
            assert endpoint.ask("question", b"png", Event()).strip()
        except (JudgeError, ValueError) as error:
            reason = str(error)
        else:
            reason = "answered"
    assert 0 < len(reason) < 500


def endless(head: bytes, valid: bytes) -> bytes:
    return head + bytes(ENDLESS)


def other(answer: bytes, valid: bytes) -> bytes:
    return answer


RANGE = f"Content-Range: bytes 0-{len(BODY) - 1}/{len(BODY)}"
REPLY = json.dumps({"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}).encode()
KINDS = [
    Kind(
        "answer with a range",
        written(http("206 Partial Content", BODY, RANGE)),
        read_data,
        found=(
            partial(endless, f"HTTP/1.1 206 Partial Content\r\nConnection: close\r\n{RANGE}\r\n\r\n".encode()),
            partial(other, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Range: x/\xb2\r\n\r\n"),
            *(partial(other, http("302 Found", b"", f"Location: {to}")) for to in ("file:///etc/passwd", "http://[")),
        ),
    ),
    Kind("whole answer", written(http("200 OK", BODY)), read_data),
    Kind(
        "answer of a judge",
        written(http("200 OK", REPLY, "Content-Type: application/json")),
        read_judge,
        found=(
            partial(endless, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
            partial(other, http("200 OK", b"[" * 100_000)),
            partial(other, http("200 OK", b"\xff\xfe{")),
            partial(other, http("500 Error", b"[" * 100_000)),
        ),
    ),
    Kind("refusal of a judge", written(http("400 Bad Request", b'{"error": {"message": "no"}}')), read_judge),
]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TRIES", 1)
    monkeypatch.setattr(download, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(download, "TIMEOUT", 2.0)


@damaging(KINDS)
def test_damaged_answers_are_read_or_refused(kind: Kind, numbers: range, tmp_path: Path) -> None:
    fuzz(kind, tmp_path, numbers)
