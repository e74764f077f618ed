"""The load program (benches/load): one run, and its figures."""

import json
import subprocess

from .engine import OPERATOR_KEY


def command(program, address=None, key=OPERATOR_KEY, **options):
    """The line that runs it; without an address, the bare loop."""
    words = [program, "--json", "1", "--key", key]
    words += ["--engine", "{}:{}".format(*address)] if address else ["--bare", "1"]
    for name, value in options.items():
        words += ["--" + name.replace("_", "-"), str(value)]
    return words


def run(program, address=None, patience=900, **options):
    """Runs it to its end."""
    words = command(program, address, **options)
    done = subprocess.run(words, capture_output=True, text=True, timeout=patience, check=False)
    return figures(done.stdout, done.stderr)


def figures(out, err=""):
    """Reads what it printed; whatever was refused, repeated or out of order ends the benchmark."""
    if not out.strip():
        raise RuntimeError(f"the load ended without figures: {err}")
    told = json.loads(out.strip().splitlines()[-1])
    if told["refused"] or told["repeated"] or "gave up" in err:
        raise RuntimeError(f"{told} {err}")
    return told
