"""The browser runtime: TVM's C++ sources and our few headers, compiled once with emscripten and cached."""

from recursivemas.compiler.runtime.objects import RuntimeObjects, ensure_runtime, runtime_key

__all__ = ["RuntimeObjects", "ensure_runtime", "runtime_key"]
