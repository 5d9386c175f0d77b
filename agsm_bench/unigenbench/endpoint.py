"""A vision-language model behind an OpenAI-compatible HTTP API (vLLM, and most hosts): one question, one image."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agsm_bench.addresses import is_own
from agsm_bench.errors import UserError

if TYPE_CHECKING:
    import requests
    from tenacity import RetryCallState

KEYS = ("AGSM_BENCH_JUDGE_KEY", "OPENAI_API_KEY")
"""Environment variables with the key; the first one set is sent. Never written anywhere."""
LONGEST_WAIT = 60.0
"""Seconds between two tries, at most."""
LONGEST_ASKED = 600.0
"""Seconds that a server may ask to wait by Retry-After; one that asks for more fails the image."""
LONGEST_ANSWER = 2**24
"""Bytes of an answer; some bodies have no end."""
PASSING = (408, 425, 429)
"""Statuses that, like those from 500, may pass."""


class JudgeError(Exception):
    """No answer to be had; the message says why, in words that hold no address and no key."""


class PassingError(JudgeError):
    """May pass: tried again, after `wait` seconds where the server said so."""

    def __init__(self, reason: str, wait: float = 0.0, connected: bool = True) -> None:
        super().__init__(reason)
        self.wait = wait
        self.connected = connected
        """False where nobody was reached at all."""


class RefusedError(JudgeError):
    """The server will not answer this request however often it is asked."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Endpoint:
    """Where and how the judge is asked."""

    url: str
    """Of its chat completions."""
    model: str
    timeout: float
    """Seconds that a silent server is waited for."""
    retries: int
    backoff: float
    """Seconds before the first retry, doubled for each further one; up to as many again by chance, so that threads
    that failed together do not come back together."""
    key: str | None = field(default=None, repr=False)

    def ask(self, text: str, png: bytes, stopped: Event) -> str:
        """The model's reply, after as many tries as it takes.

        Args:
            text: the question.
            png: the image.
            stopped: once set, no further try is made.

        Raises:
            JudgeError: there was none, the last time.
            ValueError: what came is not a whole reply.
        """
        from tenacity import (
            Retrying,
            retry_if_exception,
            sleep_using_event,
            stop_after_attempt,
            stop_when_event_set,
            wait_exponential,
            wait_random,
        )

        backoff = wait_exponential(self.backoff, max=LONGEST_WAIT) + wait_random(max=self.backoff)
        retrying = Retrying(
            stop=stop_after_attempt(self.retries + 1) | stop_when_event_set(stopped),
            wait=lambda state: max(backoff(state), _asked_wait(state)),
            retry=retry_if_exception(lambda e: isinstance(e, PassingError) and e.wait <= LONGEST_ASKED),
            sleep=sleep_using_event(stopped),
            reraise=True,
        )
        return _reply(retrying(self._post, _body(self.model, text, png)))

    def _post(self, body: bytes) -> Any:
        """The parsed answer to one request."""
        import requests

        try:
            with requests.post(
                self.url,
                data=body,
                headers={"Content-Type": "application/json"},
                auth=self._authorise,
                timeout=self.timeout,
                allow_redirects=False,  # a redirected POST becomes a GET
                stream=True,
            ) as response:
                content = _content(response)
        except requests.ReadTimeout as error:
            raise PassingError(f"no answer within {self.timeout:g} s") from error
        except requests.RequestException as error:
            if _nobody_there(error):
                raise PassingError("nobody answers at its address", connected=False) from error
            raise PassingError("the connection was cut") from error
        self._check(response, content)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ValueError("what came is no JSON") from error

    def _check(self, response: requests.Response, content: bytes) -> None:
        status = response.status_code
        if status == 200:
            return
        reason = f"HTTP {status}{_message(content.decode(errors='replace'))}"
        if self.key:  # some servers repeat it
            reason = reason.replace(self.key, "(the key)")
        if status in PASSING or status >= 500:
            raise PassingError(reason, _retry_after(response.headers))
        raise RefusedError(reason, status)

    def _authorise(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """As `auth`, so that requests does not look for a login in ~/.netrc and send that instead."""
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request


def completions_url(given: str) -> str:
    """The address of the chat completions, from that of the server, of its /v1, or of themselves.

    Raises:
        UserError: it is no HTTP address, or one with a login.
    """
    try:
        parts = urlsplit(given.strip())
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise UserError(f"--judge-url is {given!r}, which is no address.", "Use e.g. http://localhost:8000/v1.")
    if "@" in parts.netloc:
        raise UserError("--judge-url holds a login, which is not sent.", f"Put the server's key into {KEYS[0]}.")
    path = parts.path.rstrip("/") or "/v1"
    path = path if path.endswith("/chat/completions") else f"{path}/chat/completions"
    return parts._replace(path=path, fragment="").geturl()


def key_from_environment(url: str) -> str | None:
    """The key for a server, None where there is none; raises UserError for one that no header can hold.

    OpenAI's goes to no server that it could be read on the way to.
    """
    parts = urlsplit(url)
    names = KEYS if parts.scheme == "https" or is_own(parts.hostname) else KEYS[:1]
    for name in names:
        if key := os.environ.get(name, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise UserError(f"{name} holds signs that no key has.", f"Set it anew: export {name}=KEY")
            return key
    return None


def _body(model: str, text: str, png: bytes) -> bytes:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64encode(png).decode()}"}}
    content = [image, {"type": "text", "text": text}]
    return json.dumps({"model": model, "temperature": 0, "messages": [{"role": "user", "content": content}]}).encode()


def _content(response: requests.Response) -> bytes:
    """The body; raises ValueError for one that no answer needs."""
    content = b""
    for chunk in response.iter_content(1 << 16):
        content += chunk
        if len(content) > LONGEST_ANSWER:
            raise ValueError(f"what came is longer than {LONGEST_ANSWER:,} bytes")
    return content


def _reply(answer: Any) -> str:
    """The text of a chat completion; raises ValueError."""
    try:
        choice = answer["choices"][0]
        content = choice["message"]["content"]
        if isinstance(content, list):
            content = "".join(part["text"] for part in content if part.get("type") == "text")
        reason = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("what came is no chat completion") from error
    if reason == "length":
        raise ValueError("the answer was cut off, as it was too long for the server")
    if not isinstance(content, str) or not content.strip():
        raise ValueError("the answer is empty")
    return content


def _asked_wait(state: RetryCallState) -> float:
    """Seconds that the server asked to wait."""
    error = state.outcome.exception() if state.outcome else None
    return error.wait if isinstance(error, PassingError) else 0.0


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds, from a number of them or from a date (RFC 9110, 10.2.3); 0 where there is none."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # no date, or one without a zone
        return 0.0


def _message(text: str) -> str:
    """The server's own words, from the forms that OpenAI, vLLM and FastAPI give them, shortened."""
    try:
        content = json.loads(text)
        error = content.get("error", content) if isinstance(content, dict) else text
        found = (error.get("message") or error.get("detail")) if isinstance(error, dict) else error
    except (ValueError, RecursionError):
        found = text
    words = " ".join(str(found or "").split())
    return f": {words[:200]}" if words else ""


def _nobody_there(error: requests.RequestException) -> bool:
    """Whether no connection came about at all."""
    import requests
    from urllib3.exceptions import NewConnectionError

    if isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError | requests.exceptions.ProxyError):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError)
