"""Finds the line of each key and list element in a TOML text, so that error messages can name it.

`tomllib` gives values without positions. It has parsed the text before, so the text is known to be valid, and a
scanner that follows brackets and strings is enough.
"""

from __future__ import annotations

import re

Where = tuple[str | int, ...]
"""Keys and indices from the root: ("path", 0, "hops")."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}\n#]+")
_STRINGS = (
    re.compile(r'"""(?:\\.|[^\\])*?"""+', re.DOTALL),
    re.compile(r"'''.*?'''+", re.DOTALL),
    re.compile(r'"(?:\\.|[^"\\])*"'),
    re.compile(r"'[^']*'"),
)


def toml_lines(text: str) -> dict[Where, int]:
    """The line (from 1) of every key, table header and list element of a valid TOML text."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Where, int] = {}
        self._counts: dict[Where, int] = {}
        self._counted_to, self._counted_line = 0, 1

    def scan(self) -> dict[Where, int]:
        table: Where = ()
        while self._skip():
            if self.text.startswith("[", self.at):
                table = self._header()
            else:
                self._pair(table)
        return self.lines

    def _header(self) -> Where:
        many = self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        name = self._key()
        table = self._resolved(name[:-1]) + name[-1:]
        if many:
            index = self._counts.get(table, 0)
            self._counts[table] = index + 1
            table += (index,)
        self.lines.setdefault(table, self._line())
        self.at = self.text.index("]", self.at) + (2 if many else 1)
        return table

    def _resolved(self, name: Where) -> Where:
        """A table's name, with the index of the latest element after each list of tables in it."""
        found: Where = ()
        for part in name:
            found += (part,)
            if found in self._counts:
                found += (self._counts[found] - 1,)
        return found

    def _pair(self, table: Where) -> None:
        line = self._line()
        where = table + self._key()
        self.lines[where] = line
        self._skip()
        self.at += 1  # the equals sign
        self._value(where)

    def _value(self, where: Where) -> None:
        self._skip()
        opening = self.text[self.at]
        if opening == "[":
            self._elements(where)
        elif opening == "{":
            self.at += 1
            while self._skip() and self.text[self.at] != "}":
                if self.text[self.at] == ",":
                    self.at += 1
                else:
                    self._pair(where)
            self.at += 1
        elif opening in "\"'":
            self._string()
        else:
            match = _SCALAR.match(self.text, self.at)
            self.at = match.end() if match else len(self.text)

    def _elements(self, where: Where) -> None:
        self.at += 1
        index = 0
        while self._skip() and self.text[self.at] != "]":
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self.lines[(*where, index)] = self._line()
            self._value((*where, index))
            index += 1
        self.at += 1

    def _key(self) -> Where:
        parts: list[str] = []
        while self._skip():
            if self.text[self.at] in "\"'":
                parts.append(self._string()[1:-1])
            else:
                match = _BARE_KEY.match(self.text, self.at)
                assert match is not None, "checked by tomllib"
                parts.append(match[0])
                self.at = match.end()
            self._skip()
            if not self.text.startswith(".", self.at):
                break
            self.at += 1
        return tuple(parts)

    def _string(self) -> str:
        for pattern in _STRINGS:
            if match := pattern.match(self.text, self.at):
                self.at = match.end()
                return match[0]
        raise AssertionError("checked by tomllib")

    def _skip(self) -> bool:
        """Skip white space and comments; returns whether any text is left."""
        while self.at < len(self.text):
            if self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif self.text[self.at].isspace():
                self.at += 1
            else:
                return True
        return False

    def _line(self) -> int:
        # Count from the last position on: `at` never decreases.
        self._counted_line += self.text.count("\n", self._counted_to, self.at)
        self._counted_to = self.at
        return self._counted_line
