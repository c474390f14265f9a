"""RecursiveMAS for the browser: LLM agents that hand over hidden states, in PyTorch and on WebGPU.

In a checkout the subpackages lie in several folders (`core/`, `training/`, `build/`, `patches/`, `cli/`);
`extend_path` joins them. In a wheel they lie in one.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
