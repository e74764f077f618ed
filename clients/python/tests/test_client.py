"""The client against a server that answers as it is told."""

import inspect
import json
import threading
import traceback
import unittest
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import time

import ledgerhook
from ledgerhook import (
    Client,
    Conflict,
    ConnectionFailed,
    InvalidRequest,
    NotFound,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)

KEY = "lhk_the_key_of_the_tests"
SECRET = "a secret of the tests, long enough"


def problem(status, code, headers=None, **rest):
    body = {"type": "about:blank", "title": "x", "status": status, "code": code, "detail": f"because of {code}", **rest}
    return status, body, headers or {}


def data(value, status=200):
    return status, {"success": True, "data": value}, {}


class Server:
    """Answers the requests one after another, the last answer for good; keeps what it saw."""

    def __init__(self, *answers):
        self.seen = seen = []
        self.gone = gone = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                seen.append((self.command, self.path, self.headers, json.loads(text) if text else None))
                answer = answers[min(len(seen), len(answers)) - 1]
                if answer == "silence":
                    gone.wait(10)
                if isinstance(answer, str):
                    return self.connection.close()
                status, body, headers = answer
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": len(body), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *_):
                pass

            def finish(self):
                try:
                    super().finish()
                except OSError:
                    pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def client(self, **options):
        return Client(self.url, KEY, **options)

    def close(self):
        self.gone.set()
        self.http.shutdown()
        self.http.server_close()


class Calls(unittest.TestCase):
    def serve(self, *answers):
        server = Server(*answers)
        self.addCleanup(server.close)
        return server

    def test_a_webhook_is_created_with_key_idempotency_key_and_body_as_given(self):
        server = self.serve(data({"id": "wh_1"}, 201))
        draft = {"url": "https://a.example/é", "events": ["x"], "secret": SECRET}
        self.assertEqual(server.client().create_webhook(draft), {"id": "wh_1"})
        method, path, headers, body = server.seen[0]
        self.assertEqual((method, path, body), ("POST", "/api/webhooks", draft))
        self.assertEqual(headers["Authorization"], f"Bearer {KEY}")
        self.assertRegex(headers["Idempotency-Key"], r"^[\x21-\x7e]{20,128}$")
        server.client(tenant="t2").create_webhook(draft, idempotency_key="mine")
        self.assertEqual((server.seen[1][2]["Idempotency-Key"], server.seen[1][2]["X-Tenant-Id"]), ("mine", "t2"))

    def test_each_profile_has_its_webhooks_at_its_own_path_and_answers_without_an_envelope_are_taken_too(self):
        server = self.serve((201, {"id": "webhook_1"}, {}))
        for profile in ("attribution", "apexmediation", "social", "afftok"):
            self.assertEqual(server.client(profile=profile).create_webhook({})["id"], "webhook_1")
        self.assertEqual(
            [one[1] for one in server.seen], ["/webhooks", "/v1/webhooks", "/api/v1/webhooks", "/api/webhooks"]
        )

    def test_ids_are_escaped_and_cannot_lead_to_another_path(self):
        server = self.serve(data({}))
        server.client().get_webhook("a/b?c#d é")
        server.client().skip_lane("pipe_1", "deal:7/8")
        paths = ["/api/webhooks/a%2Fb%3Fc%23d%20%C3%A9", "/api/pipelines/pipe_1/lanes/deal%3A7%2F8/skip"]
        self.assertEqual([one[1] for one in server.seen], paths)
        for one in ("", ".", "..", None):
            with self.assertRaisesRegex(ValueError, "is no id"):
                server.client().get_webhook(one)

    def test_a_list_is_read_to_its_end_cursor_by_cursor_and_page_by_page(self):
        cursors = self.serve(
            data({"items": [1, 2], "next": "abc"}),
            data({"items": [], "next": "def"}),
            data({"items": [3], "next": None}),
        )
        self.assertEqual(list(cursors.client().list_deliveries(status="delivered", type=None)), [1, 2, 3])
        self.assertEqual(
            [one[1].partition("?")[2] for one in cursors.seen],
            [f"status=delivered{end}" for end in ("", "&cursor=abc", "&cursor=def")],
        )
        pages = [
            data({"pipelines": items, "pagination": {"page": page, "limit": 2, "total": 3}})
            for page, items in ((1, ["a", "b"]), (2, ["c"]))
        ]
        numbered = self.serve(*pages)
        self.assertEqual(numbered.client().list_pipelines().take(9), ["a", "b", "c"])
        self.assertEqual([one[1].partition("?")[2] for one in numbered.seen], ["", "page=2"])

    def test_a_list_that_is_a_bare_array_goes_on_where_its_link_says(self):
        link = '</api/v1/webhooks?limit=1&cursor=a%2Bb>; rel="next", </api/v1/webhooks?cursor=x>; rel="prev"'
        server = self.serve((200, [1], {"Link": link}), (200, [2], {}))
        self.assertEqual(server.client(profile="social").list_webhooks(limit=1).take(9), [1, 2])
        self.assertEqual(server.seen[1][1], "/api/v1/webhooks?limit=1&cursor=a%2Bb")

    def test_no_more_pages_are_read_than_are_asked_for(self):
        server = self.serve(data({"items": [1, 2], "next": "abc"}))
        self.assertEqual(server.client().log(from_=7).take(2), [1, 2])
        self.assertEqual([one[1] for one in server.seen], ["/api/log?from=7"])

    def test_each_refusal_has_its_class_with_code_fields_and_request(self):
        fields = [
            {"pointer": "/url", "code": "bad_url", "message": "is no URL"},
            {"pointer": "/events", "code": "length", "message": "is empty"},
        ]
        server = self.serve(problem(422, "validation_failed", errors=fields, request_id="req_1"))
        with self.assertRaises(InvalidRequest) as caught:
            server.client().create_webhook({"secret": SECRET})
        error = caught.exception
        self.assertEqual(
            (error.status, error.code, error.errors, error.request_id), (422, "validation_failed", fields, "req_1")
        )
        self.assertEqual(
            str(error), "422 validation_failed: because of validation_failed\n  /url: is no URL\n  /events: is empty"
        )
        kinds = {401: Unauthorized, 404: NotFound, 409: Conflict, 412: Conflict, 500: Unavailable, 400: InvalidRequest}
        for status, kind in kinds.items():
            server = self.serve(problem(status, "x"))
            self.assertRaises(kind, server.client().get_webhook, "wh_1")
            self.assertEqual(len(server.seen), 1, f"{status} is not repeated")

    def test_what_is_refused_for_now_is_sent_again_when_the_server_says_the_same_each_time(self):
        later = {"Retry-After": "0"}
        server = self.serve(problem(429, "busy", later), problem(503, "busy", later), data({"id": "wh_1"}, 201))
        server.client().create_webhook({"url": "https://a.example"})
        self.assertEqual(len(server.seen), 3)
        self.assertEqual(len({(one[2]["Idempotency-Key"], str(one[3])) for one in server.seen}), 1)

    def test_retries_are_bounded_in_number_and_in_time(self):
        often = self.serve(problem(429, "busy", {"Retry-After": "0"}))
        self.assertRaises(Unavailable, often.client(retries=1).stats)
        self.assertEqual(len(often.seen), 2)
        for after, seconds in (
            ("31", 31),
            (None, None),
            (formatdate(time() + 3600, usegmt=True), 3600),
            ("soon", None),
        ):
            server = self.serve(problem(429, "busy", {"Retry-After": after} if after else {}))
            with self.assertRaises(Unavailable) as caught:
                server.client().stats()
            said = caught.exception.retry_after
            self.assertTrue(said is None if seconds is None else seconds - 60 < said <= seconds, said)
            self.assertEqual(len(server.seen), 1)

    def test_a_lost_answer_is_asked_for_again_only_where_that_cannot_do_anything_twice(self):
        events = self.serve("hang up", data({"id": "evt_1"}, 202))
        self.assertEqual(events.client().send_event({"type": "x", "data": {}})["id"], "evt_1")
        self.assertEqual(*[one[2]["Idempotency-Key"] for one in events.seen])
        reads = self.serve("hang up", data({"position": 1}))
        self.assertEqual(reads.client().state()["position"], 1)
        writes = self.serve("hang up", data({}))
        self.assertRaises(ConnectionFailed, writes.client().retry_delivery, "dlv_1")
        self.assertRaises(ConnectionFailed, self.serve("hang up").client().rotate_secret, "wh_1")
        self.assertEqual(len(writes.seen), 1)

    def test_a_server_that_does_not_answer_is_given_up(self):
        server = self.serve("silence")
        with self.assertRaisesRegex(ConnectionFailed, "^GET /api/state failed: no answer within 0.05 s$"):
            server.client(timeout=0.05, retries=0).state()

    def test_the_key_is_not_taken_along_a_redirect(self):
        other = self.serve(data({}))
        server = self.serve((307, b"", {"Location": f"{other.url}/stolen"}))
        self.assertRaises(UnexpectedAnswer, server.client(retries=0).state)
        self.assertEqual(other.seen, [])

    def test_what_is_no_answer_of_the_api_is_told_as_such(self):
        for answer in ((200, b"<html>", {}), (502, f"echo {KEY}".encode(), {}), (200, b'"text"', {})):
            with self.assertRaises(UnexpectedAnswer) as caught:
                self.serve(answer).client(retries=0).state()
            self.assertNotIn("echo", str(caught.exception))

    def test_no_error_and_no_client_shows_key_or_secret(self):
        for answer in (problem(422, "x"), problem(401, "y"), "hang up", (500, KEY.encode(), {})):
            client = self.serve(answer).client(retries=0)
            with self.assertRaises(ledgerhook.LedgerhookError) as caught:
                client.create_webhook({"secret": SECRET})
            shown = "".join(traceback.format_exception(type(caught.exception), caught.exception, None))
            shown += repr(caught.exception.__dict__) + repr(client) + repr(client.__dict__)
            self.assertFalse(KEY in shown or SECRET in shown, shown)

    def test_a_key_or_url_that_cannot_be_is_refused_at_once_without_being_shown(self):
        for url, key in (
            ("https://a.example", None),
            ("https://a.example", KEY + "\r\nX: y"),
            ("ftp://a.example", KEY),
            (f"https://u:{KEY}@a.example", KEY),
        ):
            with self.assertRaises(ValueError) as caught:
                Client(url, key)
            self.assertNotIn(KEY, str(caught.exception))

    def test_a_change_names_the_version_that_it_is_made_for(self):
        server = self.serve(data({"version": 4}))
        server.client().update_webhook("wh_1", {"description": None}, if_version=3)
        method, _, headers, body = server.seen[0]
        self.assertEqual((method, headers["If-Match"], body), ("PUT", '"3"', {"description": None}))

    def test_every_call_of_the_javascript_client_is_here_too(self):
        types = (Path(__file__).parents[2] / "js/src/index.d.ts").read_text(encoding="utf-8")
        body = types.split("export class Client {")[1].split("\n}")[0]
        names = {line.strip().split("(")[0] for line in body.splitlines() if line.startswith("  ")} - {"constructor"}
        snake = {"".join(f"_{c.lower()}" if c.isupper() else c for c in name) for name in names}
        ours = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
        self.assertEqual(ours, snake)


if __name__ == "__main__":
    unittest.main()
