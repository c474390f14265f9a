"""Changes what one module of MLC-LLM sees of TVM, and nobody else's view of it."""

import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class View(types.SimpleNamespace):
    """A module with some functions replaced; everything else is the module's."""

    def __init__(self, module: Any, **replaced: Callable[..., Any]) -> None:
        super().__init__(**replaced)
        self.original = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


def intercept(module: Any, name: str, **replaced: Callable[..., Any]) -> None:
    """Replaces functions of what `module` imported as `name`.

    Args:
        module: A module of MLC-LLM.
        name: The global name in it, e.g. `op`.
        replaced: New functions by name; each may call the one it replaces through the original module.
    """
    seen = getattr(module, name)
    if isinstance(seen, View):
        vars(seen).update(replaced)
    else:
        setattr(module, name, View(seen, **replaced))


@contextmanager
def seeing(module: Any, name: str, **replaced: Callable[..., Any]) -> Iterator[None]:
    """As `intercept`, for a while."""
    seen = getattr(module, name)
    setattr(module, name, View(seen, **replaced))
    try:
        yield
    finally:
        setattr(module, name, seen)
