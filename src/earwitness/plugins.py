"""Registries of kinds by name: built-in ones, and those that other packages add through entry points.

A plug-in is loaded when its name is used, or when all kinds are listed. One that cannot be loaded raises an
`InputError` when it is requested by name, and is one line in a list; it affects nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from earwitness.errors import InputError
from earwitness.options import NAME

if TYPE_CHECKING:  # importing it would slow down commands that use built-in kinds only
    from importlib.metadata import EntryPoint

GROUPS = ("earwitness.codecs", "earwitness.buffers", "earwitness.scorers", "earwitness.paths", "earwitness.phones")
"""The groups of entry points, one for each registry."""


class Kind(Protocol):
    """An object that can be registered: it has a name, a usage and a summary."""

    @property
    def name(self) -> str:
        """The name that the user writes, without options."""
        ...

    @property
    def usage(self) -> str:
        """The name with its options: `opus[:BITRATE][,fec=0|1]`."""
        ...

    @property
    def summary(self) -> str:
        """One line that describes it."""
        ...


K = TypeVar("K", bound=Kind)


@dataclass(frozen=True)
class Broken:
    """A plug-in that cannot be used."""

    name: str
    package: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} of {self.package}: {self.why}"


@dataclass(frozen=True)
class Listed(Generic[K]):
    """All kinds of a registry in order, each with its package (empty: built in), and the plug-ins that failed."""

    kinds: tuple[tuple[K, str], ...]
    broken: tuple[Broken, ...]


class Registry(Generic[K]):
    """The kinds of one plug point.

    Args:
        what: the noun for messages: `codec`.
        group: the group of entry points; each has the name of its kind and loads a `kind`.
        kind: the class of the registered objects.
        built_in: the built-in kinds, in the order in which they are listed.
    """

    def __init__(self, what: str, group: str, kind: type[K], built_in: Iterable[K]) -> None:
        self.what = what
        self.group = group
        self._kind = kind
        self._built_in: Mapping[str, K] = {one.name: one for one in built_in}
        self._loaded: dict[str, K | Broken] = {}

    @property
    def built_in(self) -> tuple[K, ...]:
        """The built-in kinds. Loads no plug-in."""
        return tuple(self._built_in.values())

    def names(self) -> tuple[str, ...]:
        """All names, built-in ones first. Loads no plug-in."""
        return (*self._built_in, *sorted(set(_points(self.group)) - set(self._built_in)))

    @property
    def remedy(self) -> str:
        """The choices, as the last clause of an error. Loads no plug-in."""
        usages = (self._built_in[name].usage if name in self._built_in else name for name in self.names())
        return f"use one of: {', '.join(usages)}"

    def get(self, name: str, tried: str, asked: str = "") -> K:
        """The kind of that name.

        Raises `InputError`, whose message begins with `tried` and quotes `asked` (default: the name), if there is no
        such kind or its plug-in cannot be loaded.
        """
        found = self._find(name)
        if found is None:
            happened = f"no {self.what.rpartition(' ')[2]} has that name"
            raise InputError(tried, repr(asked or name), happened, self.remedy)
        if isinstance(found, Broken):
            remedy = f"repair or remove the package {found.package}"
            raise InputError(f"loading the {self.what}", name, f"{found.why} (plug-in of {found.package})", remedy)
        return found

    def find(self, name: str) -> K | None:
        """The kind of that name, or None if there is no usable one; for names read from a data set."""
        found = self._find(name)
        return None if isinstance(found, Broken) else found

    def package(self, name: str) -> str:
        """Name and version of the package that adds this kind; empty if it is built in or unknown."""
        points = () if name in self._built_in else _points(self.group).get(name, ())
        return _package(points[0]) if points else ""

    def listed(self) -> Listed[K]:
        """All kinds. Loads every plug-in."""
        kinds = [(one, "") for one in self.built_in]
        broken: list[Broken] = []
        for name in sorted(_points(self.group)):
            if name in self._built_in:
                broken.append(
                    Broken(name, _package(_points(self.group)[name][0]), "the name is taken by a built-in one")
                )
            elif isinstance(found := self._find(name), Broken):
                broken.append(found)
            elif found is not None:
                kinds.append((found, self.package(name)))
        return Listed(tuple(kinds), tuple(broken))

    def _find(self, name: str) -> K | Broken | None:
        if name in self._built_in:
            return self._built_in[name]
        if name not in self._loaded:
            points = _points(self.group).get(name, ())
            if not points:
                return None
            self._loaded[name] = self._load(points)
        return self._loaded[name]

    def _load(self, points: tuple[EntryPoint, ...]) -> K | Broken:
        point, package = points[0], _package(points[0])
        if len(points) > 1:
            others = " and ".join(_package(other) for other in points)
            return Broken(point.name, package, f"two packages add it: {others}")
        try:
            found = point.load()
        except (Exception, SystemExit) as error:  # a plug-in may raise anything
            return Broken(point.name, package, f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason'}")
        if not isinstance(found, self._kind):
            happened = f"{point.value} has type {type(found).__name__}, not {self._kind.__name__}"
            return Broken(point.name, package, happened)
        if not NAME.fullmatch(found.name):
            return Broken(point.name, package, f"{found.name!r} is not a name of lower-case letters, digits, - and _")
        if found.name != point.name:
            return Broken(point.name, package, f"{point.value} calls itself {found.name!r}")
        return found


def packages() -> Mapping[str, str]:
    """Versions of the installed packages that add kinds, by name. Loads none of them."""
    every = (point for group in GROUPS for points in _points(group).values() for point in points)
    return dict(sorted((point.dist.name, point.dist.version) for point in every if point.dist is not None))


@cache
def _points(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Entry points by name; a package found twice on the path counts once."""
    from importlib.metadata import entry_points

    found: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, {}).setdefault((_package(point), point.value), point)
    return {name: tuple(points.values()) for name, points in found.items()}


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value
