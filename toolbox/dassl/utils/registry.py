"""A table from names to classes, filled as a side effect of importing the modules that define them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .tools import check_availability


class Registry:
    """Maps a class's `__name__` to the class.

    >>> THINGS = Registry("THING")
    >>> @THINGS.register()
    ... class Lamp: ...
    >>> THINGS.get("Lamp") is Lamp
    True
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._obj_map: dict[str, Any] = {}

    def register(self, obj: Any = None, force: bool = False) -> Any:
        """As a decorator, `@registry.register()`, or as a call, `registry.register(Class)`.

        Args:
            force: replace an entry of the same name instead of raising KeyError.
        """
        if obj is None:
            return lambda decorated: self._add(decorated, force)
        return self._add(obj, force)

    def _add(self, obj: Callable, force: bool) -> Callable:
        name = obj.__name__
        if name in self._obj_map and not force:
            raise KeyError(
                f"{name!r} is already in the {self._name} registry, from {self._obj_map[name].__module__}; "
                f"{obj.__module__} cannot register it again"
            )
        self._obj_map[name] = obj
        return obj

    def get(self, name: str) -> Any:
        """The class of that name. Raises ValueError with the nearest name and all known ones."""
        try:
            check_availability(name, self._obj_map)
        except ValueError as error:
            raise ValueError(f"{self._name} registry: {error}") from None
        return self._obj_map[name]

    def registered_names(self) -> list[str]:
        """Names in the order in which they were registered."""
        return list(self._obj_map)
