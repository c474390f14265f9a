"""Reads the WGSL shaders of a compiled module and checks that WebGPU devices can run them."""

import re
from dataclasses import dataclass

import tvm

from recursivemas.compiler.limits import PROMISED
from recursivemas.system.errors import InputError

# The most that a model may need. WebLLM asks for the same; every desktop GPU and nearly every mobile GPU offers it. Our
# own kernels stay within what every device promises (`limits.PROMISED`), TVM's attention kernels do not.
MAX_INVOCATIONS = 256
MAX_WORKGROUP_BYTES = 32768
MAX_STORAGE_BUFFERS = 10

_HEADER = re.compile(r"^// Function: (\w+)\n/{2}-+\n", re.MULTILINE)
_PADDED = 16
"""WebGPU counts every variable of workgroup memory as a multiple of so many bytes."""
_BYTES = {"f32": 4, "i32": 4, "u32": 4, "f16": 2}
_WORKGROUP = re.compile(r"var<workgroup> \w+ : array<(?:vec(\d)<)?(f32|i32|u32|f16)>?, (\d+)>")
_SIZE = re.compile(r"@workgroup_size\((\d+), (\d+), (\d+)\)")


@dataclass(frozen=True)
class Shader:
    """One compute shader.

    Attributes:
        name: Its entry point.
        source: WGSL.
        invocations: Invocations per workgroup.
        workgroup_bytes: Bytes of workgroup memory, as WebGPU counts them (WGSL, "limits": each variable is rounded up).
        storage_buffers: Number of storage buffers.
    """

    name: str
    source: str
    invocations: int
    workgroup_bytes: int
    storage_buffers: int


def shaders_of(module: tvm.runtime.Module) -> list[Shader]:
    """Every shader of a compiled module, in the compiler's order."""
    source = "".join(each.inspect_source("wgsl") for each in _webgpu_modules(module))
    starts = [(match.start(), match[1]) for match in _HEADER.finditer(source)]
    # The compiler writes each header twice in a row.
    starts = [each for index, each in enumerate(starts) if index == 0 or each[1] != starts[index - 1][1]]
    ends = [start for start, _ in starts[1:]] + [len(source)]
    return [_shader(name, source[start:end]) for (start, name), end in zip(starts, ends, strict=True)]


def check_limits(shaders: list[Shader]) -> None:
    """Refuses shaders that exceed the limits above.

    Raises:
        InputError: A shader does; the message names it.
    """
    for shader in shaders:
        for needed, most, what in (
            (shader.invocations, MAX_INVOCATIONS, "invocations per workgroup"),
            (shader.workgroup_bytes, MAX_WORKGROUP_BYTES, "bytes of workgroup memory"),
            (shader.storage_buffers, MAX_STORAGE_BUFFERS, "storage buffers"),
        ):
            if needed > most:
                raise InputError(
                    f"this model's shader {shader.name} needs {needed} {what}; a page may rely on {most} (WebGPU "
                    "limits), so the model cannot be compiled for browsers"
                )


def needed_limits(shaders: list[Shader]) -> dict[str, int]:
    """The limits that the shaders need together, by WebGPU's names."""
    return {
        "maxComputeInvocationsPerWorkgroup": max((each.invocations for each in shaders), default=0),
        "maxComputeWorkgroupStorageSize": max((each.workgroup_bytes for each in shaders), default=0),
        "maxStorageBuffersPerShaderStage": max((each.storage_buffers for each in shaders), default=0),
    }


def beyond_promised(shaders: list[Shader]) -> dict[str, int]:
    """Those of the needed limits that some devices do not offer."""
    return {name: value for name, value in needed_limits(shaders).items() if value > PROMISED[name]}


def _webgpu_modules(module: tvm.runtime.Module) -> list[tvm.runtime.Module]:
    found = [module] if module.kind == "webgpu" else []
    return found + [each for imported in module.imports for each in _webgpu_modules(imported)]


def _shader(name: str, source: str) -> Shader:
    size = _SIZE.search(source)
    assert size is not None, f"{name}: no workgroup size"
    x, y, z = map(int, size.groups())
    variables = [int(lanes or 1) * _BYTES[kind] * int(count) for lanes, kind, count in _WORKGROUP.findall(source)]
    assert len(variables) == source.count("var<workgroup>"), f"{name}: unread workgroup memory"
    shared = sum(-(-size // _PADDED) * _PADDED for size in variables)
    return Shader(name, source, x * y * z, shared, source.count("var<storage"))
