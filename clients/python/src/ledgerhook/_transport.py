"""Sends one request of the API: headers, timeout, retries, and what an answer means."""

from __future__ import annotations

import json
import random
import re
import socket
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, Optional
from urllib.parse import parse_qs, urlencode, urlsplit

from ._errors import (
    ApiError,
    Conflict,
    ConnectionFailed,
    Forbidden,
    InvalidRequest,
    LedgerhookError,
    NotFound,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)

#: By status; others are `Unavailable` from 500 on, else `InvalidRequest`.
_ERRORS = {401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 412: Conflict, 429: Unavailable}

#: The server did not act, and says when to come again.
_REFUSED_FOR_NOW = (429, 503, 507)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Transport:
    def __init__(
        self, url: str, key: str, tenant: Optional[str], timeout: float, retries: int, longest_wait: float
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("`url` is to begin with https:// or http://")
        if parts.username or parts.password:
            raise ValueError("`url` is to be without user and password; the key goes into `key`")
        if not isinstance(key, str) or not re.fullmatch(r"[\x21-\x7e]+", key):
            raise ValueError("`key` is to be an API key")
        self.base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self.timeout, self.retries, self.longest_wait = timeout, retries, longest_wait
        self._headers = {"Accept": "application/json", "Authorization": f"Bearer {key}"}
        if tenant:
            self._headers["X-Tenant-Id"] = tenant
        self._opener = urllib.request.build_opener(_NoRedirect)

    def __repr__(self) -> str:
        return f"Transport({self.base!r})"

    def send(
        self,
        method: str,
        path: str,
        query: Optional[dict[str, Any]] = None,
        body: Any = None,
        headers: Optional[dict[str, str]] = None,
        repeatable: Optional[bool] = None,
    ) -> Any:
        """`repeatable`: whether the request may be sent again when it is not known what became of it."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        url = self.base + path + (f"?{urlencode(given)}" if given else "")
        data = None if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        content = {} if data is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(url, data, {**self._headers, **content, **(headers or {})}, method=method)
        may_repeat = method == "GET" if repeatable is None else repeatable
        for attempt in range(self.retries):
            try:
                return self._once(request)
            except LedgerhookError as error:
                wait = self._wait(error, attempt, may_repeat)
                if wait is None:
                    raise
            time.sleep(wait)
        return self._once(request)

    def _once(self, request: urllib.request.Request) -> Any:
        try:
            try:
                answer = self._opener.open(request, timeout=self.timeout)
            except urllib.error.HTTPError as refusal:
                answer = refusal
            with answer:
                status, text = answer.status, answer.read()
                retry_after = _seconds(answer.headers.get("Retry-After"))
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            why = getattr(reason, "strerror", None) or type(reason).__name__
            if isinstance(reason, socket.timeout):  # TimeoutError itself from Python 3.10 on
                why = f"no answer within {self.timeout} s"
            path = urlsplit(request.full_url).path
            raise ConnectionFailed(f"{request.get_method()} {path} failed: {why}") from None
        value = _parse(text)
        good = 200 <= status < 300
        if good and (value is not None or not text):
            return _bare(value, answer.headers.get("Link"))
        if not good and isinstance(value, dict) and isinstance(value.get("status"), int):
            kind: type[ApiError] = _ERRORS.get(status) or (Unavailable if status >= 500 else InvalidRequest)
            raise kind(status, value, retry_after)
        what = f"{status} without a body of the API: is {self.base} the right address?"
        raise UnexpectedAnswer(what, status, retry_after)

    def _wait(self, error: LedgerhookError, attempt: int, repeatable: bool) -> Optional[float]:
        """Seconds until the next attempt; `None` if there is to be none."""
        if isinstance(error, ConnectionFailed) and repeatable:
            return float(0.25 * 2**attempt * (1 + random.random()))
        if isinstance(error, (ApiError, UnexpectedAnswer)) and error.status in _REFUSED_FOR_NOW:
            asked = error.retry_after
            return asked if asked is not None and asked <= self.longest_wait else None
        return None


def _bare(value: Any, link: Optional[str]) -> Any:
    """Without the envelope. Where a provider's lists are arrays, their cursors stand in `Link`."""
    if isinstance(value, list):
        following = re.search(r'<([^>]*)>; rel="next"', link or "")
        cursors = parse_qs(urlsplit(following[1]).query).get("cursor") if following else None
        return {"items": value, "next": cursors[0] if cursors else None}
    return value["data"] if value and value.get("success") is True and "data" in value else value


def _parse(text: bytes) -> Any:
    """JSON that an answer of the API can be: an object or an array."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, (dict, list)) else None


def _seconds(value: Optional[str]) -> Optional[float]:
    """`Retry-After`: seconds, or a date."""
    if not value:
        return None
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
