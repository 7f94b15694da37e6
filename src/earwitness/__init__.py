"""Places real voice calls over Tor, hears what arrives, explains what went wrong, and shows what would fix it.

    import earwitness as ew

    capture = ew.read_capture("call.pcap")
    heard = ew.hear(capture, buffer="fixed:60")
    ew.score("allison-10s", heard).mos_lqo

Each name is loaded on first use (PEP 562); importing the package loads nothing else. These names are the public
interface; the modules behind them may move. docs/python.md shows each of them in use.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

TYPE_CHECKING = False  # type checkers assume True; importing it from `typing` would dominate the import time
if TYPE_CHECKING:
    from typing import Any

    from earwitness.api.data import blame_dataset as blame_dataset
    from earwitness.api.data import compare as compare
    from earwitness.api.data import open_dataset as open_dataset
    from earwitness.api.data import query as query
    from earwitness.api.data import what_if as what_if
    from earwitness.api.data import write_report as write_report
    from earwitness.api.labs import place_calls as place_calls
    from earwitness.api.labs import plan_study as plan_study
    from earwitness.api.labs import read_study as read_study
    from earwitness.api.labs import run_study as run_study
    from earwitness.api.listening import blame as blame
    from earwitness.api.listening import hear as hear
    from earwitness.api.listening import score as score
    from earwitness.api.listening import time_capture as time_capture
    from earwitness.api.listening import timing as timing
    from earwitness.api.published import import_folder as import_folder
    from earwitness.api.published import reproduce as reproduce
    from earwitness.archive.dataset import Dataset as Dataset
    from earwitness.call.plan import CallPlan as CallPlan
    from earwitness.errors import EarwitnessError as EarwitnessError
    from earwitness.score.emodel import e_model as e_model
    from earwitness.speech.codecs.registry import codec as codec
    from earwitness.speech.reference import speech as speech
    from earwitness.trace.capture import read_capture as read_capture
    from earwitness.trace.model import Trace as Trace
    from earwitness.version import __version__ as __version__

__all__ = [
    "CallPlan",
    "Dataset",
    "EarwitnessError",
    "Trace",
    "blame",
    "blame_dataset",
    "codec",
    "compare",
    "e_model",
    "hear",
    "import_folder",
    "open_dataset",
    "place_calls",
    "plan_study",
    "query",
    "read_capture",
    "read_study",
    "reproduce",
    "run_study",
    "score",
    "speech",
    "time_capture",
    "timing",
    "what_if",
    "write_report",
]

_MODULES = {
    "earwitness.api.data": ("blame_dataset", "compare", "open_dataset", "query", "what_if", "write_report"),
    "earwitness.api.labs": ("place_calls", "plan_study", "read_study", "run_study"),
    "earwitness.api.listening": ("blame", "hear", "score", "time_capture", "timing"),
    "earwitness.api.published": ("import_folder", "reproduce"),
    "earwitness.archive.dataset": ("Dataset",),
    "earwitness.call.plan": ("CallPlan",),
    "earwitness.errors": ("EarwitnessError",),
    "earwitness.score.emodel": ("e_model",),
    "earwitness.speech.codecs.registry": ("codec",),
    "earwitness.speech.reference": ("speech",),
    "earwitness.trace.capture": ("read_capture",),
    "earwitness.trace.model": ("Trace",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


class _Package(ModuleType):
    """The class of this module, which keeps `score` and `speech` functions.

    Importing a subpackage binds its name in the parent, which would hide the function of the same name.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _MODULE_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("earwitness.version").__version__
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from earwitness.extras import naming_extras

    with naming_extras("using", f"earwitness.{name}"):
        found = getattr(import_module(_MODULE_OF[name]), name)
    if isinstance(found, type) and "__annotations__" in vars(found):
        import typing

        # Resolve them now: once `__module__` changes, their names could no longer be looked up.
        found.__annotations__ = typing.get_type_hints(found)
    found.__module__ = __name__
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
