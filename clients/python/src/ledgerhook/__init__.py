"""Client of Ledgerhook: register webhooks, post events, and verify the deliveries that you receive."""

from ._client import Client
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
    VerificationError,
)
from ._pages import Pages
from ._verify import verify

__all__ = [
    "ApiError",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "Forbidden",
    "InvalidRequest",
    "LedgerhookError",
    "NotFound",
    "Pages",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "VerificationError",
    "verify",
]
__version__ = "0.1.0"
