"""Compiles shaders with naga, Firefox's compiler of WGSL, through the Python package `wgpu`.

It needs an adapter, but no GPU: Mesa's llvmpipe does, through Vulkan or OpenGL.
"""

from collections.abc import Iterable
from typing import Any

import wgpu

from recursivemas.compiler.shaders import Shader


def adapter_for(shaders: Iterable[Shader]) -> Any:
    """The first adapter that has the features of the shaders; None if there is none."""
    half = any("enable f16;" in shader.source for shader in shaders)
    for adapter in wgpu.gpu.enumerate_adapters_sync():
        if not half or "shader-f16" in adapter.features:
            return adapter
    return None


def refused_by_naga(shaders: Iterable[Shader], adapter: Any) -> dict[str, str]:
    """Naga's message for each shader that it refuses, by the shader's name.

    Args:
        shaders: Any.
        adapter: From `adapter_for`.
    """
    device = adapter.request_device_sync(
        required_features=[each for each in ("shader-f16",) if each in adapter.features]
    )
    problems: dict[str, str] = {}
    for shader in shaders:
        try:
            device.create_shader_module(code=shader.source)
        except wgpu.GPUError as error:
            problems[shader.name] = str(error)
    return problems
