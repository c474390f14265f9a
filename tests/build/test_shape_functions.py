"""Shape functions come out the same in whatever order TVM's hash tables have them."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import tvm
import tvm_ffi
from tvm import relax, tirx

from recursivemas.compiler.runtime import ensure_runtime
from recursivemas.compiler.shape_functions import CanonicalShapeFunctions

ROOT = Path(__file__).parents[2]

CHILD = """
import sys
from pathlib import Path
from recursivemas.compiler.library import compile_library
from recursivemas.compiler.models import load_model_config
from recursivemas.system.quantize import find_scheme
from tests.build.test_library import TINY

kept = [bytearray(size) for size in range(int(sys.argv[1]))]  # moves objects to other addresses in each process
compile_library(load_model_config(TINY), find_scheme("q4f16_1"), Path(sys.argv[2]), optimise=0)
"""


def _lowered() -> tvm.IRModule:
    """Functions of two symbolic sizes, lowered as the pipeline does up to `VMShapeLower`."""
    builder = relax.BlockBuilder()
    for name, more in (("first", 1), ("second", 2), ("third", 1)):
        rows, columns = tirx.Var("rows", "int64"), tirx.Var("columns", "int64")
        x = relax.Var("x", relax.TensorType((rows, columns), "float32"))
        with builder.function(name, [x]):
            flat = builder.emit(relax.op.reshape(x, (rows * columns,)))
            wide = builder.emit(relax.op.zeros((rows + more, columns * 2, rows * 3), "float32"))
            builder.emit_func_output(relax.Tuple([flat, wide]))
    with tvm.target.Target("llvm"):
        return tvm.transform.Sequential(
            [
                relax.transform.LegalizeOps(),
                relax.transform.RewriteDataflowReshape(),
                relax.transform.ToNonDataflow(),
                relax.transform.RemovePurityChecking(),
                relax.transform.CallTIRRewrite(),
                relax.transform.LowerAllocTensor(),
                relax.transform.LowerRuntimeBuiltin(),
                relax.transform.ComputePrimValue(),
                relax.transform.VMShapeLower(),
            ]
        )(builder.finalize())


def _shape_functions(mod: tvm.IRModule) -> dict[str, tirx.PrimFunc]:
    return {var.name_hint: func for var, func in mod.functions_items() if var.name_hint.startswith("shape_func")}


def _shuffled(mod: tvm.IRModule, seed: int) -> tvm.IRModule:
    """The same module with the stores of every shape function in another order."""
    rng, mod = random.Random(seed), mod.clone()
    for var, function in mod.functions_items():
        if var.name_hint.startswith("shape_func") and isinstance(function.body, tirx.SeqStmt):
            stores = list(function.body.seq)
            rng.shuffle(stores)
            mod[var] = function.with_body(tirx.SeqStmt(stores))
    return mod


def test_the_order_of_stores_does_not_matter() -> None:
    lowered = _lowered()
    assert len(_shape_functions(lowered)) >= 2
    expected = CanonicalShapeFunctions()(lowered)
    different = 0
    for seed in range(5):
        shuffled = _shuffled(lowered, seed)
        different += not tvm_ffi.structural_equal(shuffled, lowered)
        tvm.ir.assert_structural_equal(CanonicalShapeFunctions()(shuffled), expected)
    assert different


def test_equal_functions_are_one_and_every_call_finds_its_function() -> None:
    mod = CanonicalShapeFunctions()(_lowered())
    functions = _shape_functions(mod)
    texts = [function.without_attr("global_symbol").script() for function in functions.values()]
    assert len(set(texts)) == len(texts)
    called: set[str] = set()

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, relax.Call) and isinstance(expression.op, tvm.ir.GlobalVar):
            called.add(expression.op.name_hint)

    for function in mod.functions.values():
        if isinstance(function, relax.Function):
            relax.analysis.post_order_visit(function, visit)
    assert {name for name in called if name.startswith("shape_func")} == set(functions)


@pytest.mark.slow
def test_processes_write_the_same_library_byte_for_byte(tmp_path: Path) -> None:
    ensure_runtime()
    libraries = []
    for number, seed in enumerate(("0", "1", "4711")):
        out = tmp_path / f"{number}.wasm"
        command = [sys.executable, "-c", CHILD, str(1000 * number), str(out)]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
        libraries.append(out.read_bytes())
    assert libraries[0] == libraries[1] == libraries[2]
