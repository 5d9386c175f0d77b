"""Keeps secrets out of what is written or printed: logins in addresses, keys in queries, tokens of the environment."""

from __future__ import annotations

import os
import re

HIDDEN = "***"
SECRETIVE = re.compile(r"(?i)(?:^|_)(?:key|token|secret|password|passwd)$")
"""Names of environment variables that hold a secret."""
SHORTEST = 8
"""Characters of a value of theirs that is looked for; a shorter one is no key, and might be a part of any word."""

_LOGIN = re.compile(r"(?<=://)[^\s/@'\"?#]+@")
_QUERY = re.compile(r"(?i)([?&][\w.-]*(?:key|token|secret|password|signature|credential)[\w.-]*=)[^&#\s'\"]+")
_KEYS = re.compile(r"\b(?:hf_|sk-|gh[pousr]_|glpat-)[\w-]{16,}")
"""What the hub, OpenAI, GitHub and GitLab give out."""


def redacted(text: str) -> str:
    """The text with `***` in place of every secret that is known for one."""
    for name, value in os.environ.items():
        if SECRETIVE.search(name) and len(value.strip()) >= SHORTEST:
            text = text.replace(value.strip(), HIDDEN)
    text = _LOGIN.sub(f"{HIDDEN}@", text)
    return _KEYS.sub(HIDDEN, _QUERY.sub(rf"\g<1>{HIDDEN}", text))
