"""HTTP requests with the standard library: whole answers as bytes, nothing left open."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping

__all__ = ["Refused", "request"]


class Refused(Exception):
    """The server answered with an error: `code` and the text of the answer."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


def request(
    url: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> bytes:
    """The body of the answer. Raises: Refused for 4xx and 5xx, OSError when there is no answer."""
    asked = urllib.request.Request(url, method=method, data=body, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(asked, timeout=timeout_s) as answer:
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        with error:  # it is an open answer, and would hold its socket until collected
            raise Refused(error.code, error.read().decode(errors="replace")) from None
    return content
