"""SIG.1, SIG.5, SIG.7: verify() against the vectors that all clients share (made with openssl)."""

import hashlib
import hmac
import json
import unittest
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

from ledgerhook import VerificationError, verify

VECTORS = json.loads((Path(__file__).parents[2] / "vectors.json").read_text(encoding="utf-8"))

PUBLIC_KEY = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


def options(vector):
    return {name: vector[name] for name in ("profile", "now") if name in vector}


class Verify(unittest.TestCase):
    def outcome(self, vector, body):
        try:
            return verify(body, vector["headers"], vector["secret"], **options(vector))
        except VerificationError as error:
            secrets = vector["secret"] if isinstance(vector["secret"], list) else [vector["secret"]]
            for secret in filter(None, secrets):
                self.assertNotIn(secret, str(error))
            return error.reason

    def test_all_vectors(self):
        self.assertGreater(len(VECTORS), 70)
        for vector in VECTORS:
            expected = vector.get("reason") or (json.loads(vector["body"]) if vector["body"] else None)
            if vector["secret"] == PUBLIC_KEY and not find_spec("cryptography"):
                expected = "unusable_secret"
            for body in (vector["body"], vector["body"].encode(), bytearray(vector["body"].encode())):
                with self.subTest(vector["name"], body=type(body).__name__):
                    self.assertEqual(self.outcome(vector, body), expected)

    def test_a_parsed_body_is_refused_with_the_way_to_get_the_raw_one(self):
        with self.assertRaisesRegex(VerificationError, "request.get_data") as caught:
            verify({"type": "x"}, {"X-Afftok-Signature": "0" * 64}, "secret", profile="afftok")
        self.assertEqual(caught.exception.reason, "raw_body_needed")

    def test_another_tolerance_counts_and_none_that_is_no_number(self):
        vector = next(one for one in VECTORS if one["name"] == "standard: 300 s old")
        verify(vector["body"], vector["headers"], vector["secret"], now=vector["now"], tolerance=300)
        for tolerance in (299, 0, float("nan")):
            with self.assertRaisesRegex(VerificationError, "signed 300 s ago"):
                verify(vector["body"], vector["headers"], vector["secret"], now=vector["now"], tolerance=tolerance)

    def test_an_unknown_profile_is_a_mistake_of_the_program_and_named(self):
        with self.assertRaisesRegex(ValueError, "there is no profile 'nope'; known are standard"):
            verify(b"", {}, "secret", profile="nope")

    def test_bytes_that_are_no_utf_8_are_verified_and_then_refused(self):
        signature = hmac.new(b"secret", b"\xff", hashlib.sha256).hexdigest()
        with self.assertRaises(VerificationError) as caught:
            verify(b"\xff", {"X-Afftok-Signature": signature}, "secret", profile="afftok")
        self.assertEqual(caught.exception.reason, "not_json")

    def test_without_cryptography_v1a_says_what_to_install(self):
        vector = next(one for one in VECTORS if one["name"].endswith("vector 3, v1a"))
        hidden = {"cryptography.exceptions": None, "cryptography": None}
        with mock.patch.dict("sys.modules", hidden), self.assertRaisesRegex(VerificationError, r"ledgerhook\[v1a\]"):
            verify(vector["body"], vector["headers"], vector["secret"], **options(vector))


if __name__ == "__main__":
    unittest.main()
