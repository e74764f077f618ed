"""The release binary as a process: started, killed, asked."""

import http.client
import json
import os
import signal
import subprocess
import time

OPERATOR_KEY = "op_chaos_0123456789abcdefghijklmnop"


class Failed(Exception):
    """What a case found."""


class Engine:
    """One data folder, and the process that owns it now."""

    def __init__(self, binary, folder, variables=None, options=(), wrap=()):
        self.binary = str(binary)
        self.folder = str(folder)
        self.variables = dict(variables or {})
        self.options = list(options)
        self.wrap = list(wrap)
        self.log_path = self.folder.rstrip("/") + ".log"
        self.process = None
        self.address = None
        #: (killed, ready again), by the monotonic clock
        self.outages = []
        self._down_since = None

    # ---- life ----

    def spawn(self):
        """Starts the process and does not wait for it."""
        address = os.path.join(self.folder, "address")
        if os.path.exists(address):
            os.remove(address)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LEDGERHOOK_")}
        environment.update(
            LEDGERHOOK_OPERATOR_KEY=OPERATOR_KEY,
            LEDGERHOOK_LISTEN="127.0.0.1:0",
            LEDGERHOOK_LOG_SEGMENT_BYTES=str(8 << 20),
            LEDGERHOOK_LOG_FREE_BYTES_MIN=str(1 << 20),
            LEDGERHOOK_ALLOW_HTTP="true",
            LEDGERHOOK_EGRESS_ALLOW="127.0.0.1",
            LEDGERHOOK_TELEMETRY_FORMAT="json",
        )
        environment.update(self.variables)
        command = [*self.wrap, self.binary, "--data-dir", self.folder, *self.options]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    def start(self, patience=20):
        self.spawn()
        self.wait_until_ready(patience)
        return self

    def wait_until_ready(self, patience=20):
        path = os.path.join(self.folder, "address")
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise Failed(f"the engine ended with {self.process.returncode} while it started: {self.tail()}")
            try:
                with open(path, encoding="utf-8") as file:
                    host, _, port = file.read().strip().rpartition(":")
                self.address = (host.removeprefix("http://"), int(port))
                socket = http.client.HTTPConnection(*self.address, timeout=5)
                socket.connect()
                socket.close()
                break
            except (OSError, ValueError):
                time.sleep(0.002)
        else:
            raise Failed(f"the engine was not ready within {patience} s: {self.tail()}")
        if self._down_since is not None:
            self.outages.append((self._down_since, time.monotonic()))
            self._down_since = None

    def went_down(self, when=None):
        """Notes the moment from which requests may have been cut."""
        if self._down_since is None:
            self._down_since = when or time.monotonic()

    def kill(self):
        self.went_down()
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Without a trace in the records: the case is over."""
        if self.is_running():
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def terminate(self, patience=40):
        """SIGTERM, and its exit code."""
        self.went_down()
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise Failed(f"the engine has not ended {patience} s after SIGTERM") from None

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def tail(self, lines=5):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return " | ".join(file.read().splitlines()[-lines:])
        except OSError:
            return "it wrote nothing"

    def log_text(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def verb(self, *words):
        """Another verb on the same folder."""
        return subprocess.run(
            [self.binary, *words, "--data-dir", self.folder], capture_output=True, text=True, timeout=120, check=False
        )

    # ---- API ----

    def api(self, method, path, body=None, timeout=10, headers=None):
        """Status and JSON; an `OSError` or `HTTPException` if there is no answer."""
        connection = http.client.HTTPConnection(*self.address, timeout=timeout)
        try:
            return call(connection, method, path, body, headers)
        finally:
            connection.close()

    def get(self, path):
        status, answer = self.api("GET", path)
        if status != 200:
            raise Failed(f"GET {path}: {status} {answer}")
        return answer.get("data", answer)

    def post(self, path, body, expect=(200, 201, 202, 204)):
        status, answer = self.api("POST", path, body)
        if status not in expect:
            raise Failed(f"POST {path}: {status} {answer}")
        return answer.get("data", answer)

    def list(self, path):
        """All items of all pages."""
        items, cursor = [], ""
        while True:
            joint = "&" if "?" in path else "?"
            page = self.get(f"{path}{joint}limit=250{cursor}")
            items += page["items"]
            if not page.get("next"):
                return items
            cursor = f"&cursor={page['next']}"

    def state(self):
        return self.get("/api/state")

    def pending(self):
        counts = self.state()["deliveries"]
        return sum(counts[name] for name in ("queued", "in_flight", "retrying", "held"))

    def create_pipeline(self, url, attempts=8, delay=1, backoff="fixed", **more):
        policy = {"max_attempts": attempts, "backoff_type": backoff, "initial_delay_seconds": delay}
        step = {"name": "Send", "order": 1, "url": url, "method": "POST", "timeout_seconds": 10, "retry_policy": policy}
        body = {"name": "Conversions", "trigger_type": "conversion", "status": "active", "steps": [step], **more}
        return self.post("/api/admin/webhooks/pipelines", body)["id"]


def call(connection, method, path, body=None, headers=None):
    """One request on a connection that may be used again."""
    text = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {OPERATOR_KEY}", "Content-Type": "application/json", **(headers or {})}
    connection.request(method, path, text, headers)
    answer = connection.getresponse()
    raw = answer.read()
    try:
        return answer.status, json.loads(raw) if raw else {}
    except ValueError:
        return answer.status, {"text": raw.decode(errors="replace")}


def eventually(what, check, patience=60, pause=0.01):
    """The first truthy answer of `check`."""
    until = time.monotonic() + patience
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > until:
            raise Failed(f"not within {patience} s: {what}")
        time.sleep(pause)
