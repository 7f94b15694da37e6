"""Read tables of settings and collect all faults: each getter notes a fault and continues with the default."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earwitness.errors import InputError
from earwitness.study.toml_lines import Where


@dataclass(frozen=True, order=True)
class Complaint:
    """One fault in a file: where it is, what is wrong, what to write instead."""

    line: int
    key: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.key}: {self.what}; {self.remedy}"


class FileFaults(InputError):
    """All faults of a file, one per line."""

    def __init__(self, path: Path | str, complaints: Sequence[Complaint]) -> None:
        self.complaints = tuple(sorted(set(complaints)))
        count = len(self.complaints)
        super().__init__("reading", path, f"{count} fault{'s' * (count != 1)}", "correct all of them and try again")

    def __str__(self) -> str:
        return "\n".join([f"{self.tried} {self.on}: {self.happened}", *(f"  {fault}" for fault in self.complaints)])


@dataclass
class Faults:
    """Collects faults, and knows the line of each key in the file."""

    lines: Mapping[Where, int]
    found: list[Complaint] = field(default_factory=list)

    def add(self, where: Where, what: str, remedy: str) -> None:
        """Note a fault at a key or list element, or at its nearest ancestor with a known line."""
        above = where
        while above and above not in self.lines:
            above = above[:-1]
        self.found.append(Complaint(self.lines.get(above, 1), _name(where) or "the file", what, remedy))


class Section:
    """One table of the file. Keys that have not been read when `finish` is called are unknown settings."""

    def __init__(self, values: Mapping[str, Any], where: Where, faults: Faults) -> None:
        self.values = values
        self.where = where
        self.faults = faults
        self._known: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def wrong(self, key: str, what: str, remedy: str, *index: int) -> None:
        """Note a fault in one of its keys, or in an element of that key's list."""
        self.faults.add((*self.where, key, *index), what, remedy)

    def refuse(self, error: InputError) -> None:
        """Note the fault that another module's error reports, at the setting it names or at the whole table."""
        where = (*self.where, error.setting) if error.setting else self.where
        self.faults.add(where, error.clause, error.advice)

    def know(self, key: str) -> None:
        """Declare an optional setting."""
        self._known.append(key)

    def text(self, key: str, default: str, choices: Sequence[str] = ()) -> str:
        """A string; one of `choices` if any are given."""
        value = self._get(key, default)
        if not isinstance(value, str):
            self.wrong(key, f"{value!r} is not a text", f'write it in quotes: {key} = "{default or "..."}"')
            return default
        if choices and value not in choices:
            self.wrong(key, f"{value!r} is not possible", _choose(value, choices))
            return default
        return value

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """An integer in an inclusive range."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.wrong(key, f"{value!r} is not possible", f"give a whole number from {low} to {high}")
            return default
        return value

    def number(self, key: str, default: float | None, low: float, high: float) -> float | None:
        """A number in an inclusive range; `default` if the key is absent."""
        value = self._get(key, None)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.wrong(key, f"{value!r} is not possible", f"give a number from {low:g} to {high:g}")
            return default
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            self.wrong(key, f"{value!r} is neither true nor false", "write true or false, without quotes")
            return default
        return value

    def several(self, key: str, default: Sequence[Any], *, kind: type, what: str) -> list[Any]:
        """A list of one or more elements of one type; a single value is read as a list of one."""
        value = self._get(key, list(default))
        listed = value if isinstance(value, list) else [value]
        if not listed:
            self.wrong(key, "the list is empty", f"give at least one {what}, or leave the key out")
            return list(default)
        for index, item in enumerate(listed):
            if not isinstance(item, kind) or isinstance(item, bool) is not (kind is bool):
                self.wrong(key, f"{item!r} is not a {what}", f"list each {what} as the example does", index)
        good = [item for item in listed if isinstance(item, kind)]
        return good or list(default)

    def section(self, key: str) -> Section:
        """The table of that name; empty if absent."""
        value = self._get(key, {})
        if not isinstance(value, Mapping):
            self.wrong(key, "it is not a table", f"write its settings below a line [{key}]")
            value = {}
        return Section(value, (*self.where, key), self.faults)

    def sections(self, key: str) -> list[Section]:
        """The list of tables of that name."""
        value = self._get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            self.wrong(key, "it is not a list of tables", f"begin each with a line [[{key}]]")
            return []
        return [Section(item, (*self.where, key, index), self.faults) for index, item in enumerate(value)]

    def finish(self) -> None:
        """Note every key that was not read."""
        for key in self.values:
            if key not in self._known:
                self.wrong(key, "there is no such setting", _choose(key, self._known))

    def _get(self, key: str, default: Any) -> Any:
        self._known.append(key)
        return self.values.get(key, default)


def _choose(given: str, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, choices, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"{meant}choose one of {', '.join(choices)}"


def _name(where: Where) -> str:
    text = ""
    for part in where:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")
