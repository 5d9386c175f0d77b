"""What the HTML pages share: their templates' environment, and the hash by which a policy names a style sheet."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment(package: str = "agsm_bench.report", /, **filters: Callable[..., Any]) -> Environment:
    """The templates of the package's `templates/`, where everything that is put in is escaped."""
    made = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"csp_hash": csp_hash, **filters}
    return made


def csp_hash(text: str) -> str:
    """How a Content-Security-Policy names an inline style sheet."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
