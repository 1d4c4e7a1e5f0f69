"""Whether the processor has AVX2, and what our kernels for it are written with: LLVM instructions in numba."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import config

HAS_AVX2 = (
    config.CPU_NAME is None
    and config.CPU_FEATURES is None
    and bool(llvmlite.binding.get_host_cpu_features().get("avx2"))
)


@dataclass(frozen=True)
class Instructions:
    """Writes the body of an intrinsic, whose arguments go by their numbers; indices count an array's numbers as
    they lie in memory."""

    context: Any
    builder: Any
    signature: Any
    arguments: Any

    def pointer(self, array: int, index: Any, to: Any) -> Any:
        of = self.context.make_array(self.signature.args[array])(self.context, self.builder, self.arguments[array])
        return self.builder.bitcast(self.builder.gep(of.data, [index]), to.as_pointer())

    def load(self, array: int, index: Any, vector: Any) -> Any:
        return self.builder.load(self.pointer(array, index, vector), align=1)

    def store(self, vector: Any, array: int, index: Any) -> None:
        self.builder.store(vector, self.pointer(array, index, vector.type), align=1)

    def call(self, name: str, result: Any, *operands: Any) -> Any:
        kind = ir.FunctionType(result, [operand.type for operand in operands])
        function = self.builder.module.globals.get(name) or ir.Function(self.builder.module, kind, name)
        return self.builder.call(function, operands)
