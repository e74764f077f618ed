"""The engine as a process, on a folder of its own."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

OPERATOR_KEY = "op_bench_0123456789abcdefghijklmnop"


class Engine:
    """Started on a fresh folder; ended, and the folder removed, at the end of a `with`."""

    def __init__(self, binary, folder, **settings):
        self.binary, self.settings = binary, settings
        self.folder = tempfile.mkdtemp(prefix="bench-", dir=folder)
        self.process, self.address = None, None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, patience=60):
        """Answers with the seconds until it was ready."""
        began = time.monotonic()
        known = os.path.join(self.folder, "address")
        if os.path.exists(known):
            os.remove(known)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LEDGERHOOK_")}
        environment.update(
            LEDGERHOOK_OPERATOR_KEY=OPERATOR_KEY,
            LEDGERHOOK_LISTEN=f"127.0.0.1:{self.address[1] if self.address else 0}",
            LEDGERHOOK_ALLOW_HTTP="true",
            LEDGERHOOK_EGRESS_ALLOW="127.0.0.1/32",
            LEDGERHOOK_TELEMETRY_FILTER="warn",
        )
        environment.update({f"LEDGERHOOK_{name.upper()}": str(value) for name, value in self.settings.items()})
        command = [self.binary, "--data-dir", self.folder]
        with open(self.folder + ".log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        while time.monotonic() < began + patience:
            if self.process.poll() is not None:
                break
            try:
                with open(known, encoding="utf-8") as file:
                    host, _, port = file.read().strip().rpartition(":")
                self.address = (host.removeprefix("http://"), int(port))
                self.call("GET", "/readyz")
                return time.monotonic() - began
            except (OSError, ValueError):
                time.sleep(0.005)
        with open(self.folder + ".log", encoding="utf-8", errors="replace") as log:
            raise RuntimeError(f"the engine did not start: {log.read()[-2000:]}")

    def kill(self):
        """As a crash would."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        if os.path.exists(self.folder + ".log"):
            os.remove(self.folder + ".log")

    def stop(self):
        """As an operator does."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    @property
    def pid(self):
        return self.process.pid

    def call(self, method, path, body=None, key=OPERATOR_KEY):
        """Answers with the status and the JSON body."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def make_tenant(self, name):
        """Answers with a key of its own."""
        status, told = self.call("POST", "/api/tenants", {"id": name, "name": name, "profile": "afftok"})
        assert status == 201, told
        wanted = {"name": "bench", "scopes": ["read", "manage", "events:write"]}
        status, told = self.call("POST", f"/api/tenants/{name}/keys", wanted)
        assert status == 201, told
        return told["data"]["key"]
