"""One function a case, named by the requirements that it shows."""

import importlib
import pkgutil

CASES = []


class Skipped(Exception):
    """What is missing here."""


def case(number, title):
    """Registers a case under its number."""

    def register(function):
        CASES.append((number, title, function))
        return function

    return register


def load():
    """All cases, by number."""
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        importlib.import_module(f"{__name__}.{module.name}")
    return sorted(CASES, key=lambda one: (one[0].split(".")[0], int(one[0].split(".")[1].split("-")[0])))
