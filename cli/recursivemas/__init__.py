"""RecursiveMAS for the browser: LLM agents that hand over hidden states, in PyTorch and on WebGPU.

    import recursivemas as rm

    system = rm.load("systems/hop-sequential.yaml", links="systems/links/hop-sequential.recursivelink.json")
    print(system.ask("a>b b~c c-d … ? a@3", mode="latent", rounds=3).answer)

The names in `__all__` are the public interface (docs/python.md); everything else may change. Importing this module
loads none of them: each is imported at its first use, and only those that compute need PyTorch or TVM.

In a checkout the subpackages lie in several folders (`core/`, `training/`, `build/`, `patches/`, `cli/`);
`extend_path` joins them. In a wheel they lie in one.
"""

import importlib
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recursivemas.api.answer import Answer, Trace, Turn
    from recursivemas.api.evaluation import Evaluation
    from recursivemas.api.loaded import LoadedSystem, load
    from recursivemas.api.making import build, compile, train
    from recursivemas.compiler.agent_folder import AgentFolder
    from recursivemas.system.errors import InputError
    from recursivemas.system.manifest import Manifest

__path__ = extend_path(__path__, __name__)

__all__ = [
    "AgentFolder",
    "Answer",
    "Evaluation",
    "InputError",
    "LoadedSystem",
    "Manifest",
    "Trace",
    "Turn",
    "build",
    "compile",
    "load",
    "train",
]

_MODULES = {
    "AgentFolder": "compiler.agent_folder",
    "Answer": "api.answer",
    "Evaluation": "api.evaluation",
    "InputError": "system.errors",
    "LoadedSystem": "api.loaded",
    "Manifest": "system.manifest",
    "Trace": "api.answer",
    "Turn": "api.answer",
    "build": "api.making",
    "compile": "api.making",
    "load": "api.loaded",
    "train": "api.making",
}


def __getattr__(name: str) -> Any:
    """Imports a public name at its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted([*globals(), *__all__])
