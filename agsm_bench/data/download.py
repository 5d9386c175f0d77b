"""One file over HTTPS: goes on where it was cut, in this call or a later one.

pooch and torch.hub start anew, and huggingface_hub's `http_get` refuses with HF_HUB_OFFLINE set and lets a reset
connection end it. So: `requests` for the transfer, `tenacity` for waiting and giving up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agsm_bench.addresses import https_session
from agsm_bench.data.places import ShowProgress
from agsm_bench.errors import MissingError

if TYPE_CHECKING:
    import requests

TRIES = 6
"""In a row without a new byte, before giving up."""
LONGEST_WAIT = 30.0
"""Seconds between two tries, at most; they begin with one."""
TIMEOUT = 30.0
"""Seconds that a silent server is waited for."""
CHUNK = 1 << 16
"""Bytes; what had arrived of the last one is lost when a connection is cut."""

PLAIN = {"Accept-Encoding": "identity"}
"""Asks for the bytes as they are: a range of a packed answer would be of no use."""


class CutError(Exception):
    """The connection ended early, and nothing new arrived."""


def size_of(url: str) -> int:
    """Bytes of a file of the web.

    Raises:
        MissingError: the server does not say, has no such file, or cannot be reached.
    """
    import requests

    try:
        with https_session() as session:
            answer = session.head(url, headers=PLAIN, allow_redirects=True, timeout=TIMEOUT)
            answer.raise_for_status()
    except requests.RequestException as error:
        raise MissingError(
            f"{url} cannot be downloaded ({error}).", "Look at the connection, and try again."
        ) from error
    if (total := _total(answer.headers)) is None:
        raise MissingError(f"{url} does not say its size.", "Download it by hand.")
    return total


def download(url: str, part: Path, size: int, show: ShowProgress) -> None:
    """Downloads `size` bytes to `part`, after those that are there.

    Raises:
        OSError: the disk is full, or not ours.
        MissingError: the server has no such file, or one of another size, or cannot be reached. What has arrived
            stays, and the next call goes on after it.
    """
    import requests
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

    retrying = Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(max=LONGEST_WAIT),
        retry=retry_if_exception_type((CutError, requests.ConnectionError, requests.Timeout)),
        reraise=True,
    )
    part.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    most = part.stat().st_size
    try:
        while most < size:  # a new count of tries whenever bytes have arrived
            most = retrying(_more, url, part, size, most, show)
    except (CutError, requests.RequestException, ValueError) as error:  # ValueError: a redirect to no address
        raise MissingError(f"{url} cannot be downloaded ({error}).", "Run the same command again to go on.") from error


def _more(url: str, part: Path, size: int, most: int, show: ShowProgress) -> int:
    """One request for what lacks; the size that the part then has, which is more than `most`."""
    import requests

    headers = {"Range": f"bytes={part.stat().st_size}-", **PLAIN}
    with https_session() as session, session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 429 or response.status_code >= 500:
            raise CutError(f"{response.status_code} {response.reason}")
        if response.status_code != requests.codes.requested_range_not_satisfiable:
            response.raise_for_status()
        if (total := _total(response.headers)) not in (None, size):
            raise MissingError(
                f"{url} has {total:,} bytes, and {size:,} were expected: it is another file by now.",
                "Look at its page (agsm-bench data list --format json) and use --from FILE.",
            )
        response.raise_for_status()
        if response.status_code == requests.codes.partial_content and _start(response.headers) != part.stat().st_size:
            raise CutError(f"the server sent another part than {headers['Range']}")
        if total is None:  # maybe the page of somebody in between
            raise CutError("the answer does not say its size")
        reason = _write(response, part, size, show)
    if (have := part.stat().st_size) <= most:
        raise CutError(f"the connection ended after {have:,} of {size:,} bytes") from reason
    return have


def _total(headers: Mapping[str, str]) -> int | None:
    """Size of the whole file, as the answer to a request for a range or for all of it gives it."""
    text = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
    return _number(text)


def _start(headers: Mapping[str, str]) -> int | None:
    """Where the answer to a request for a range begins."""
    text = headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return _number(text)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _write(response: requests.Response, part: Path, size: int, show: ShowProgress) -> requests.RequestException | None:
    """Appends the body up to the size of the whole file, or starts anew where the server knows no ranges; what cut it
    short, if anything did."""
    import requests

    whole = response.status_code != requests.codes.partial_content
    with part.open("wb" if whole else "ab") as stream:
        try:
            for chunk in response.iter_content(CHUNK):
                stream.write(chunk[: size - stream.tell()])  # some bodies have no end
                show("download", stream.tell(), size)
                if stream.tell() >= size:
                    break
        except requests.RequestException as error:
            return error
    return None
