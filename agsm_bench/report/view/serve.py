"""A page's folder over HTTP, to this machine alone."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from agsm_bench.errors import UserError

ADDRESS = "127.0.0.1"


def server_of(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of the folder, not yet serving; port 0 takes a free one. Raises UserError where the port is in use."""
    try:
        return ThreadingHTTPServer((ADDRESS, port), partial(_Handler, directory=str(folder.resolve())))
    except (OSError, OverflowError) as error:
        raise UserError(f"Port {port} cannot be used ({error}).", "Use another --port; 0 takes a free one.") from error


def address_of(server: ThreadingHTTPServer) -> str:
    return f"http://{ADDRESS}:{server.server_address[1]}/"


class _Handler(SimpleHTTPRequestHandler):
    """Files of the folder, no listings, and only for requests that name this machine (DNS rebinding)."""

    def send_head(self) -> Any:
        port = self.connection.getsockname()[1]
        if self.headers.get("Host") not in {f"{name}:{port}" for name in (ADDRESS, "localhost")}:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        root, path = Path(self.directory).resolve(), Path(self.translate_path(self.path))
        inside = path.resolve().is_relative_to(root) and not any(
            p.startswith(".") for p in path.parts[len(root.parts) :]
        )
        if not inside:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the terminal is the user's."""
