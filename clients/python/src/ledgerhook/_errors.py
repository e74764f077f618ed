"""What can go wrong. No text here ever holds a key, a secret, or the body of a request."""

from __future__ import annotations

from typing import Any, Optional


class LedgerhookError(Exception):
    """Whatever this package raises."""


class ConnectionFailed(LedgerhookError):
    """A request did not come through, or nobody answered in time. Whether it was acted upon is not known."""


class UnexpectedAnswer(LedgerhookError):
    """The server answered something that is no answer of its API: most likely something else listens there."""

    def __init__(self, message: str, status: int, retry_after: Optional[float] = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class ApiError(LedgerhookError):
    """The server refused, and says why (`application/problem+json`, RFC 9457)."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after: Optional[float] = None) -> None:
        #: For programs: `validation_failed`, `not_found`, …
        self.code: str = problem.get("code") or "unknown"
        #: For people.
        self.detail: str = problem.get("detail") or problem.get("title") or "no reason given"
        #: The fields to blame: `pointer` is a JSON pointer into the body, or `/name` of a query parameter.
        self.errors: list[dict[str, str]] = problem.get("errors") or []
        #: Names the request in the server's log.
        self.request_id: Optional[str] = problem.get("request_id")
        #: Seconds after which it makes sense to come again.
        self.retry_after = retry_after
        self.status = status
        fields = [f"\n  {one.get('pointer') or 'body'}: {one.get('message')}" for one in self.errors]
        super().__init__(f"{status} {self.code}: {self.detail}{''.join(fields) if len(fields) > 1 else ''}")


class InvalidRequest(ApiError):
    """400, 405, 413, 415, 422: the request is wrong; `errors` names the fields."""


class Unauthorized(ApiError):
    """401: no key, or none that is valid."""


class Forbidden(ApiError):
    """403: the key may not do this."""


class NotFound(ApiError):
    """404: it does not exist, or is another tenant's."""


class Conflict(ApiError):
    """409, 412: not in this state, or changed in between."""


class Unavailable(ApiError):
    """429, 5xx: come again after `retry_after`."""


class VerificationError(LedgerhookError):
    """A delivery that is not to be trusted. `reason` is for programs, the message for the one who looks into it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
