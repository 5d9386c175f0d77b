"""Which addresses of the web are asked: those of https, redirects included, and of plain http this machine's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import requests

OWN = ("localhost", "127.0.0.1", "::1")


def is_own(host: str | None) -> bool:
    """Whether this is a name of this machine."""
    return host in OWN


def https_session() -> requests.Session:
    """A session that refuses other addresses with requests' InvalidSchema, before anything is sent to them."""
    import requests
    from requests.adapters import HTTPAdapter
    from requests.exceptions import InvalidSchema

    class OwnMachine(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *arguments: Any, **settings: Any) -> requests.Response:
            host = urlsplit(str(request.url)).hostname
            if not is_own(host):
                raise InvalidSchema(f"http://{host} is not https")
            return super().send(request, *arguments, **settings)

    session = requests.Session()
    session.mount("http://", OwnMachine())
    return session
