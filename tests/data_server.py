"""A local HTTP server that misbehaves as asked, and archives for it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Site:
    """One file, and how it is served."""

    content: bytes
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)
    """The first answers end after so many bytes, one each."""
    statuses: list[int] = field(default_factory=list)
    """The first answers are these errors instead."""
    pages: list[bytes] = field(default_factory=list)
    """The first answers are these pages, of no stated length, as somebody in between sends them."""
    skip: list[int] = field(default_factory=list)
    """The first answers begin so many bytes after what was asked, one each."""
    redirects: list[str] = field(default_factory=list)
    """The first answers send elsewhere."""
    asked: list[str] = field(default_factory=list)
    """The Range header of every request."""
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site = self.site
        asked = self.headers.get("Range", "")
        site.asked.append(asked)
        if site.redirects:
            self.send_response(302)
            self.send_header("Location", site.redirects.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if site.statuses:
            self.send_error(site.statuses.pop(0))
            return
        if site.pages:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(site.pages.pop(0))
            return
        start = int(asked.removeprefix("bytes=").rstrip("-") or 0) if site.ranges else 0
        start += site.skip.pop(0) if site.skip else 0
        body = site.content[start:]
        self.send_response(206 if site.ranges else 200)
        if site.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: site.cut_after.pop(0)] if site.cut_after else body)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.site.content)))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(site: Site) -> Iterator[Site]:
    """The site, with its url, while the server runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}/tiny.zip"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip, stored, not compressed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            # without the time, which would be in the ids of tests that are about archives
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()
