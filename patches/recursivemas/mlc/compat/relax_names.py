"""Names that MLC-LLM expects in `tvm.relax` and that TVM 0.27 has elsewhere."""

import tvm
from tvm import relax

from recursivemas.mlc.compat.bridge import Bridge


def _apply() -> None:
    moved = {
        "Constant": tvm.ir.GenericConst,
        "StringImm": tvm.ir.StringImm,
        "ObjectType": relax.AnyType,
    }
    for name, here in moved.items():
        if not hasattr(relax, name):
            setattr(relax, name, here)


BRIDGE = Bridge(
    "relax-names",
    "MLC-LLM uses relax.Constant, relax.StringImm and relax.ObjectType, some of them in annotations that run on "
    "import; TVM 0.27 calls them ir.GenericConst, ir.StringImm and relax.AnyType. The old names are added if they are "
    "missing.",
    _apply,
)
