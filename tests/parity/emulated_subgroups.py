"""Subgroups of any size on an adapter that has smaller ones: exchanges pass through workgroup memory.

The kernels stay as they are compiled; only the built-in function that they call is another one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from harness.libraries import Libraries

_EMULATE = r"""
(() => {
  const own = GPUDevice.prototype.createShaderModule;
  window.emulated = [];
  window.endEmulation = () => {
    GPUDevice.prototype.createShaderModule = own;
    return window.emulated;
  };
  GPUDevice.prototype.createShaderModule = function (descriptor) {
    const { code } = descriptor;
    if (!code.includes("subgroupShuffleXor(")) return own.call(this, descriptor);
    const [, threads] = /@workgroup_size\((\d+), 1, 1\)/.exec(code);
    window.emulated.push(/fn (\w+)\(/.exec(code)[1]);
    const exchange = `
var<workgroup> all_values : array<f32, ${threads}>;
var<private> own_number : u32;
fn exchange(value : f32, mask : u32) -> f32 {
  workgroupBarrier();
  all_values[own_number] = value;
  workgroupBarrier();
  return all_values[own_number ^ mask];
}
`;
    const body = code
      .replace("enable subgroups;", "")
      .replaceAll("subgroupShuffleXor(", "exchange(")
      .replace(/(fn \w+\([^{]*\{)/, "$1 own_number = threadIdx.x;");
    const enabled = [...body.matchAll(/^enable .*;$/gm)].map(([line]) => line).join("\n");
    return own.call(this, { ...descriptor, code: enabled + exchange + body.replaceAll(/^enable .*;$/gm, "") });
  };
})()
"""


@contextmanager
def emulated_subgroups(libraries: Libraries) -> Iterator[None]:
    """Libraries that are loaded meanwhile exchange values between all threads of a workgroup."""
    libraries.evaluate(_EMULATE)
    try:
        yield
    finally:
        names = libraries.evaluate("window.endEmulation()")
    assert any(name.startswith("decode") for name in names), names
