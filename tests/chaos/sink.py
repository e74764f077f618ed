"""A receiver on a thread of its own that records every request."""

import asyncio
import json
import threading
import time


class Reply:
    """What a receiver does with a request."""

    def __init__(self, status=200, delay=0.0, headers=(), reset=False):
        self.status, self.delay, self.headers, self.reset = status, delay, list(headers), reset


class Sink:
    """Listens on loopback; `answer(request)` decides the reply, `after(request)` is called when it is out."""

    def __init__(self, answer=lambda request: Reply(), after=None):
        self.answer = answer
        self.after = after
        self.requests = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait()
        self.url = f"http://127.0.0.1:{self.port}/hook"

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 21))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                start, wall = time.monotonic(), time.time()
                lines = head.decode("latin-1").split("\r\n")
                headers = {}
                for line in lines[1:]:
                    name, _, value = line.partition(":")
                    headers[name.strip().lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = record(lines[0].split(" ")[1], headers, body, start, wall)
                self.requests.append(request)
                reply = self.answer(request)
                if reply.delay:
                    await asyncio.sleep(reply.delay)
                if reply.reset:
                    request["end"] = time.monotonic()
                    writer.transport.abort()
                    return
                more = "".join(f"{name}: {value}\r\n" for name, value in reply.headers)
                # The end is noted before the answer leaves: what follows from it is later.
                request["end"], request["status"] = time.monotonic(), reply.status
                writer.write(f"HTTP/1.1 {reply.status} X\r\n{more}Content-Length: 2\r\n\r\nok".encode())
                await writer.drain()
                if self.after:
                    self.after(request)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def record(path, headers, body, start, wall):
    """A request as plain data."""
    try:
        event = json.loads(body)
    except ValueError:
        event = {}
    return {
        "path": path,
        "event": headers.get("webhook-id", ""),
        "delivery": headers.get("x-webhook-delivery", ""),
        "attempt": int(headers.get("x-webhook-attempt", "0")),
        "round": int(headers.get("x-webhook-redelivery", "1")),
        "timestamp": int(headers.get("webhook-timestamp", "0")),
        "resource": event.get("data", {}).get("conversion_id", ""),
        "body": body.decode("utf-8", errors="replace"),
        "start": start,
        "end": None,
        "status": None,
        "wall": wall,
    }
