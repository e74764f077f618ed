"""Checks deliveries: the headers of the profiles, and Standard Webhooks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from typing import Any, Mapping, NamedTuple, Optional, Sequence, Union

from ._errors import VerificationError

#: The profiles' own headers: hex HMAC-SHA256 of the raw body, behind a prefix.
_PROFILES: dict[str, dict[str, Any]] = {
    "afftok": {"headers": ["X-Afftok-Signature"]},
    "attribution": {"headers": ["X-Attribution-Signature"]},
    "apexmediation": {"headers": ["X-Apexmediation-Signature", "X-Adstack-Signature"]},
    "social": {"headers": ["X-Webhook-Signature"], "prefix": "sha256="},
}


class _Claim(NamedTuple):
    """What would have to hold. Of several alternatives one is enough."""

    algorithm: str
    key: bytes
    message: bytes
    signature: bytes

    def holds(self) -> bool:
        if self.algorithm == "ed25519":
            return _ed25519(self.key, self.message, self.signature)
        return hmac.compare_digest(hmac.new(self.key, self.message, hashlib.sha256).digest(), self.signature)


def verify(
    body: Union[bytes, bytearray, memoryview, str],
    headers: Mapping[str, str],
    secret: Union[str, Sequence[str]],
    *,
    profile: Union[str, Mapping[str, Any]] = "standard",
    tolerance: float = 300,
    now: Optional[float] = None,
) -> Any:
    """Checks a delivery and answers with its event; raises a `VerificationError` that says what is wrong.

    `body` is what came over the wire, before anything parsed it: `request.get_data()` in Flask, `request.body` in
    Django. `secret` may be several, during a rotation; `whpk_…` is the public key of `v1a` signatures, for which the
    package `cryptography` is needed. `profile` says whose headers are checked: `standard` works for every profile,
    and refuses what was signed more than `tolerance` seconds ago. Compares in constant time.
    """
    raw = _raw(body)
    secrets = [secret] if isinstance(secret, str) else list(secret or [])
    if not secrets or not all(isinstance(one, str) and one for one in secrets):
        raise VerificationError("unusable_secret", "the secret is empty or no text: is its environment variable set?")
    names = {str(name).lower(): str(value) for name, value in headers.items()}
    if profile == "standard":
        claims = [_standard(raw, names, secrets, tolerance, time.time() if now is None else now)]
    else:
        shape = _PROFILES.get(profile) if isinstance(profile, str) else profile
        if shape is None:
            raise ValueError(f"there is no profile {profile!r}; known are standard, {', '.join(_PROFILES)}")
        claims = _own(raw, names, secrets, shape["headers"], shape.get("prefix", ""))
    if not all([any([claim.holds() for claim in alternatives]) for alternatives in claims]):
        message = "no signature fits: another secret, or a body that was changed or serialised anew"
        raise VerificationError("wrong_signature", message)
    if not raw:
        return None
    try:
        return json.loads(raw.decode())
    except ValueError:
        raise VerificationError("not_json", "the signature fits, but the body is not JSON in UTF-8") from None


def _standard(raw: bytes, headers: dict[str, str], secrets: list[str], tolerance: float, now: float) -> list[_Claim]:
    """Standard Webhooks: `{id}.{timestamp}.{body}`, several signatures of which one has to fit."""
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        if name not in headers:
            raise VerificationError("missing_header", f"the header {name} is missing")
    timestamp = headers["webhook-timestamp"]
    if not re.fullmatch(r"[0-9]{1,15}", timestamp):
        raise VerificationError("malformed_header", "webhook-timestamp is not a number of seconds")
    age = round(now - int(timestamp))
    if not abs(age) <= tolerance:
        when = f"{age} s ago" if age > 0 else f"{-age} s in the future"
        message = f"signed {when}, allowed are {tolerance} s: a replay, or a clock that is off"
        raise VerificationError("stale_timestamp", message)
    signed = f"{headers['webhook-id']}.{timestamp}.".encode("utf-8", "surrogateescape") + raw
    keys = [_standard_key(one) for one in secrets]
    given = []
    for entry in headers["webhook-signature"].split(" "):
        version, _, text = entry.partition(",")
        signature = _decode(text)
        if version in ("v1", "v1a") and signature:
            given.append(("hmac" if version == "v1" else "ed25519", signature))
    if not given:
        raise VerificationError("malformed_header", "webhook-signature has no signature of the versions v1 and v1a")
    return [
        _Claim(algorithm, key, signed, signature)
        for algorithm, key in keys
        for version, signature in given
        if version == algorithm
    ]


def _standard_key(secret: str) -> tuple[str, bytes]:
    """`whsec_` and `whpk_` stand before base64; without either the key is the text itself."""
    kind, text = secret[:6], secret[6:]
    if secret.startswith("whsk_"):
        raise VerificationError("unusable_secret", "this is the private key of the sender; receivers need whpk_…")
    if secret.startswith("whpk_"):
        kind, text = secret[:5], secret[5:]
    elif kind != "whsec_":
        return "hmac", secret.encode()
    key = _decode(text)
    if not key or (kind == "whpk_" and len(key) != 32):
        what = "32 bytes" if kind == "whpk_" else "a key"
        raise VerificationError("unusable_secret", f"what follows {kind} is not base64 of {what}")
    return ("ed25519" if kind == "whpk_" else "hmac"), key


def _own(
    raw: bytes, headers: dict[str, str], secrets: list[str], names: Sequence[str], prefix: str
) -> list[list[_Claim]]:
    """A profile's own headers. Where there are several, at least one is there, and each that is there has to fit."""
    given = [(name, headers[name.lower()]) for name in names if name.lower() in headers]
    if not given:
        raise VerificationError("missing_header", f"the header {' or '.join(names)} is missing")
    claims = []
    for name, value in given:
        digits = value[len(prefix) :] if value.startswith(prefix) else ""
        if not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
            raise VerificationError("malformed_header", f"{name} is not {prefix}<64 hexadecimal digits>")
        claims.append([_Claim("hmac", one.encode(), raw, bytes.fromhex(digits)) for one in secrets])
    return claims


def _raw(body: Any) -> bytes:
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    message = "needs the body as it came, not parsed: request.get_data() in Flask, request.body in Django"
    raise VerificationError("raw_body_needed", message)


def _decode(text: str) -> Optional[bytes]:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _ed25519(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        advice = "v1a signatures need the package `cryptography`: pip install 'ledgerhook[v1a]'"
        raise VerificationError("unusable_secret", advice) from None
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True
