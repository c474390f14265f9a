"""Replaces functions of TVM for one module of MLC-LLM only."""

import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class View(types.SimpleNamespace):
    """A module with some functions replaced."""

    def __init__(self, module: Any, **replaced: Callable[..., Any]) -> None:
        super().__init__(**replaced)
        self.original = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


def intercept(module: Any, name: str, **replaced: Callable[..., Any]) -> None:
    """Replaces functions of what `module` imported as `name`.

    Args:
        module: A module of MLC-LLM.
        name: The name under which it imported them, e.g. `op`.
        replaced: New functions by name; each may call the original one in the original module.
    """
    seen = getattr(module, name)
    if isinstance(seen, View):
        vars(seen).update(replaced)
    else:
        setattr(module, name, View(seen, **replaced))


@contextmanager
def seeing(module: Any, name: str, **replaced: Callable[..., Any]) -> Iterator[None]:
    """Does the same as `intercept` for the duration of a block."""
    seen = getattr(module, name)
    setattr(module, name, View(seen, **replaced))
    try:
        yield
    finally:
        setattr(module, name, seen)
