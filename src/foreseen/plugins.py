"""Registries that packages of others extend by entry points. Nothing of a plugin is imported at the start."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, MutableMapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Registry(MutableMapping[str, Entry], Generic[Entry]):
    """Entries by name: those of foreseen first, then those of installed packages.

    Entry points are looked up when a name is not one of foreseen's own, or when all names are listed. A plugin that
    cannot be loaded, or that takes a name that is taken, is left out with one warning.

    Args:
        own: the entries of foreseen.
        group: entry-point group of the plugins, such as "foreseen.methods".
        load: entry point -> entry.
    """

    def __init__(self, own: dict[str, Entry], group: str, load: Callable[[EntryPoint], Entry]) -> None:
        self.group = group
        self._load = load
        self._own = dict(own)
        self._plugins: dict[str, Entry] | None = None

    def __getitem__(self, name: str) -> Entry:
        return self._own[name] if name in self._own else self._installed()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._installed()

    def __setitem__(self, name: str, entry: Entry) -> None:
        self._own[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._own[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._own, *(name for name in self._installed() if name not in self._own)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _installed(self) -> dict[str, Entry]:
        if self._plugins is None:
            self._plugins = {}
            for point in sorted(entry_points(group=self.group), key=lambda point: (point.name, point.value)):
                self._add(point, self._plugins)
        return self._plugins

    def _add(self, point: EntryPoint, plugins: dict[str, Entry]) -> None:
        """Loads one plugin into `plugins`, or says why not."""
        package = point.dist.name if point.dist is not None else point.module
        if point.name in self._own or point.name in plugins:
            _warn(f"the package '{package}' offers '{point.name}' as {self.group}, which is taken: it is left out")
            return
        try:
            plugins[point.name] = self._load(point)
        except Exception as error:  # code of others: whatever it raises must not stop the rest
            reason = f"{type(error).__name__}: {error}"
            _warn(
                f"the package '{package}' cannot be used ({self.group} '{point.name}'): {reason}; update or remove it"
            )


def instance_of(kind: type[Entry]) -> Callable[[EntryPoint], Entry]:
    """Loads what an entry point names, which must be a `kind`: the function raises `TypeError` for anything else."""

    def load(point: EntryPoint) -> Entry:
        entry = point.load()
        if not isinstance(entry, kind):
            raise TypeError(f"{point.value} is a {type(entry).__name__}, not a {kind.__name__}")
        return entry

    return load


def _warn(line: str) -> None:
    print(f"foreseen: warning: {line}.", file=sys.stderr)
