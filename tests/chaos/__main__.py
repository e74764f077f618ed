"""Runs the cases: `scripts/chaos --help`."""

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback

from .cases import Skipped, load
from .run import Context


def main():
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--long", action="store_true", help="the long figures: hours")
    parser.add_argument("--only", help="cases whose number or title holds this text")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--list", action="store_true", help="names the cases")
    options = parser.parse_args()
    passed = failed = skipped = 0
    for number, title, function in load():
        if options.only and options.only not in number and options.only not in title:
            continue
        if options.list:
            print(f"{number:8} {title}")
            continue
        folder = tempfile.mkdtemp(prefix=f"chaos-{number.lower().replace('.', '-')}-")
        context = Context(options.binary, folder, options.seed, options.long)
        began = time.monotonic()
        try:
            try:
                function(context)
            finally:
                context.close()
        except Skipped as missing:
            skipped += 1
            print(f"SKIPPED {number:8} {title}: {missing}", flush=True)
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            traceback.print_exc()
            print(f"FAILED  {number:8} {title}: {error}\n        seed {options.seed}, left in {folder}", flush=True)
            continue
        else:
            passed += 1
            notes = f": {', '.join(context.notes)}" if context.notes else ""
            print(f"ok      {number:8} {title}{notes} ({time.monotonic() - began:.1f} s)", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    if not options.list:
        print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or (passed == 0 and not options.list and not skipped) else 0)


if __name__ == "__main__":
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    main()
