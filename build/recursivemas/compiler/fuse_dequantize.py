"""Fuses dequantization into the kernel that uses the weight, so that dequantized weights are never stored.

Source: MLC-LLM does this after operator fusion, with a pattern for each number of fused operands. Here it happens
before operator fusion, with one pattern for the product and one for the lookup; operator fusion then adds what follows.
"""

import tvm
from tvm import relax, tirx
from tvm.relax.dpl.pattern import GlobalVarPattern, TuplePattern, is_op, wildcard

# relax.op.OpPatternKind: reductions whose element-wise followers may be fused, and element-wise functions.
_OUT_ELEMENTWISE_FUSABLE = 4
_INJECTIVE = 2


@tvm.transform.module_pass(opt_level=0, name="FuseDequantize")
class FuseDequantize:
    """Fuses ``dequantize`` kernels into the matrix product or the table lookup that is their only user.

    Runs on legalised functions, before operator fusion.
    """

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Fuses the kernels and marks how operator fusion may fuse them further."""
        patterns = [
            ("dequantize_matmul", *_pattern("NT_matmul", weight_last=True)),
            ("dequantize_take", *_pattern("take", weight_last=False)),
        ]
        mod = tvm.transform.Sequential(
            [relax.transform.FuseOpsByPattern(patterns, bind_constants=False), relax.transform.FuseTIR()]
        )(mod)
        for name, function in mod.functions_items():
            if isinstance(function, tirx.PrimFunc) and name.name_hint.startswith("fused_dequantize"):
                kind = _INJECTIVE if "take" in name.name_hint else _OUT_ELEMENTWISE_FUSABLE
                mod[name] = function.with_attr("op_pattern", kind)
        return mod


def _pattern(user_name: str, *, weight_last: bool) -> tuple[object, ...]:
    quantized = [wildcard(), wildcard()]
    weight = is_op("relax.call_tir")(GlobalVarPattern(), TuplePattern(quantized), add_constraint=False)
    other = wildcard()
    operands = [other, weight] if weight_last else [weight, other]
    user = is_op("relax.call_tir")(GlobalVarPattern(), TuplePattern(operands), add_constraint=False)

    def named(expression: relax.Expr, prefix: str) -> bool:
        return (
            isinstance(expression, relax.Call)
            and isinstance(expression.args[0], relax.GlobalVar)
            and expression.args[0].name_hint.startswith(prefix)
        )

    def check(context: relax.transform.PatternCheckContext) -> bool:
        found = context.annotated_expr
        return named(found["weight"], "dequantize") and named(found["user"], user_name)

    return user, {"weight": weight, "user": user}, check
