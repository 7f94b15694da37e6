"""Extras: packages that only some parts of Earwitness need, and the error that names the extra to install.

pyproject.toml alone lists the packages of each extra; they are read here from the installed metadata.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from importlib.util import find_spec

from earwitness.errors import InputError

NOT_PARTS = frozenset({"all", "dev"})
"""Extras not listed: `all`, and those for developers."""

NEEDED_FOR = {
    "data": "data sets: compare, import, export, bundle",
    "query": "query",
    "report": "report, whatif, blame, reproduce",
    "lab": "calls and studies: demo, call, lab, answer, study",
    "cluster": "studies over many machines: cluster, vantage",
    "watch": "watch",
    "srtp": "encrypted calls: timing and hear with a key",
    "codecs": "captures of the codec iLBC, and sound files of more formats: M4A, WebM, AMR, WMA, G.722",
    "estimate": "the scorers dnsmos and plcmos",
}
"""The commands that each extra is for."""

_REQUIREMENT = re.compile(r"""([\w.-]+)[^;]*;.*\bextra\s*==\s*['"]([\w-]+)['"]""")


class MissingExtra(InputError):
    """The operation needs packages of an extra that is not installed."""

    def __init__(self, tried: str, on: object, extras: tuple[str, ...], modules: tuple[str, ...]) -> None:
        named = f"the extra{'s' * (len(extras) > 1)} {' and '.join(extras)}"
        happened = f"needs {named}, which {'is' if len(extras) == 1 else 'are'} not installed ({', '.join(modules)})"
        super().__init__(tried, on, happened, f"pip install 'earwitness[{','.join(extras)}]'")
        self.extras, self.modules = extras, modules

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
        return type(self), (self.tried, self.on, self.extras, self.modules)


@cache
def extras() -> dict[str, tuple[str, ...]]:
    """The extras in order of name, each with the packages that it adds to the core's."""
    found: dict[str, set[str]] = {}
    for line in metadata.requires("earwitness") or ():
        if (match := _REQUIREMENT.match(line)) and match[2] not in NOT_PARTS:
            found.setdefault(match[2], set()).add(match[1].lower().replace("-", "_"))
    return {name: tuple(sorted(modules)) for name, modules in sorted(found.items())}


def missing(extra: str) -> tuple[str, ...]:
    """The packages of an extra that are not installed."""
    return tuple(module for module in extras().get(extra, ()) if not _is_there(module))


def need(*wanted: str, tried: str, on: object) -> None:
    """Raise `MissingExtra` unless these extras are installed completely; `tried` and `on` begin its message."""
    lacking = {extra: missing(extra) for extra in wanted}
    lacking = {extra: modules for extra, modules in lacking.items() if modules}
    if lacking:
        modules = tuple(sorted({module for modules in lacking.values() for module in modules}))
        raise MissingExtra(tried, on, tuple(lacking), modules)


@contextmanager
def naming_extras(tried: str, on: object) -> Iterator[None]:
    """Turn a failed import in the block into `MissingExtra` for the smallest extra that has the package."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        having = [extra for extra, modules in extras().items() if module in modules]
        if not having:
            raise
        smallest = min(having, key=lambda extra: len(extras()[extra]))
        raise MissingExtra(tried, on, (smallest,), (module,)) from error


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
