"""A local judge with an OpenAI-compatible HTTP API that misbehaves as asked."""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What comes instead of an answer."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    """The body of the response."""
    content: str | None = None
    """The model's words, in a proper response."""
    finish: str = "stop"
    delay: float = 0.0
    """Seconds before anything comes."""
    cut: bool = False
    """The connection ends before, or, with a body, within the response."""


@dataclass
class JudgeServer:
    """Faults by image, or of any: the next ones to come, then honest answers."""

    faults: dict[bytes, list[Fault]] = field(default_factory=dict)
    always: Fault | None = None
    """Instead of every answer."""
    answered: Counter[bytes] = field(default_factory=Counter)
    """Requests by image."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""
    most: int = 0
    """Requests at the same time."""
    working: int = 0
    lock: Lock = field(default_factory=Lock)

    def arrives(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Fault:
        """Notes a request, and says what comes of it."""
        picture, text = body["messages"][0]["content"]
        image = b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))
        with self.lock:
            self.paths.append(path)
            self.headers.append(headers)
            self.bodies.append(body)
            self.times.append(time.monotonic())
            self.answered[image] += 1
            self.working += 1
            self.most = max(self.most, self.working)
            if self.always:
                return self.always
            if queue := self.faults.get(image):
                return queue.pop(0)
        points = len(re.findall(r"^\d+\. \[", text["text"], re.MULTILINE))
        return Fault(content=honest(image, points))


def answers(image: bytes, points: int) -> list[bool]:
    """What the judge thinks of an image."""
    return [(sum(image) + number) % 3 > 0 for number in range(1, points + 1)]


def honest(image: bytes, points: int) -> str:
    """The answer that was asked for."""
    return verdicts(answers(image, points))


def verdicts(yes: Sequence[bool]) -> str:
    entries = [{"point": n, "answer": "yes" if each else "no", "reason": f"Seen {n}."} for n, each in enumerate(yes, 1)]
    return json.dumps({"verdicts": entries})


class _Handler(BaseHTTPRequestHandler):
    server_version = "judge"
    judge: JudgeServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault = self.judge.arrives(self.path, dict(self.headers), body)
        try:
            time.sleep(fault.delay)
            self._respond(fault)
        except OSError:  # the other side no longer waits
            pass
        finally:
            with self.judge.lock:
                self.judge.working -= 1

    def _respond(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.cut and fault.body is None:
            return
        choice = {"message": {"role": "assistant", "content": fault.content}, "finish_reason": fault.finish}
        body = (fault.body if fault.body is not None else json.dumps({"choices": [choice]})).encode()
        self.send_response(fault.status)
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault.cut else body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def judging(judge: JudgeServer) -> Iterator[JudgeServer]:
    """The judge, with its url, while the server runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"judge": judge}))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
