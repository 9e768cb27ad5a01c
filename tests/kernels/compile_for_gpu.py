"""Compile every kernel of the GPU engine to machine code of compute capability 9.0; needs no GPU.

Prints one line per kernel. Run with TRITON_INTERPRET unset: the interpreter replaces the compiler.
"""

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from asediff.kernels.cuda import lists as cuda_lists
from asediff.kernels.cuda import pair as cuda_pair
from asediff.kernels.cuda import rdf_loops as cuda_rdf_loops
from asediff.kernels.cuda import step as cuda_step
from asediff.kernels.cuda import thermostats as cuda_thermostats

INT32 = [
    "atom_in_system",
    "blocks",
    "blocks_of_systems",
    "cell_atoms",
    "cell_count",
    "cell_needed",
    "cell_system",
    "first_partner",
    "grids",
    "moved",
    "needed",
    "offsets",
    "partner",
    "partners",
    "row_count",
    "rows",
    "table_index",
    "types",
]
INT64 = ["counter", "failed", "first_step", "seeds"]
FLOAT64 = [
    "block_kinetic",
    "by_chain",
    "by_table",
    "chain",
    "chain_masses",
    "decay",
    "factors",
    "frame_overlap",
    "kT",
    "kinetic",
    "n_dof",
    "numbers",
    "scales",
    "sums",
    "tape_chain",
]
NUMBERS = ["capacity", "cell_capacity", "n_atoms", "n_cells", "n_intervals", "n_systems", "n_types", "table_length"]

SMALL, LARGE = {"BLOCK": 4, "LANES": 32}, {"BLOCK": 16, "LANES": 16}
PLAIN, MIXED = {"TRICLINIC": False, "MIXED": False}, {"TRICLINIC": True, "MIXED": True}
RDF_KINDS = {"boxes": "*fp64", "limits": "*fp64", "moments": "*fp64", "slopes": "*fp64", "gradient": "*fp64"}
RDF_KINDS |= {"channels": "*i32", "n_channels": "i32", "n_bins": "i32"}
RDF = {"BLOCK": 32, "LANES": 32, "IMAGES": 8, "TRICLINIC": True}
CHAIN = {"M": 3, "P": 4, "CHUNK": 256}
KERNELS = [
    (cuda_lists.rows_of_all_pairs, 4, {**SMALL, "TRICLINIC": True, "ALL_IMAGES": True}),
    (cuda_lists.weigh_rows, 4, SMALL),
    (cuda_lists.clear_cells, 4, {"BLOCK": 1024}),
    (cuda_lists.fill_cells, 1, {"BLOCK": 16, "TRICLINIC": False}),
    (cuda_lists.rows_of_cells, 4, {**LARGE, "TRICLINIC": False}),
    (cuda_pair.forces_of_rows, 4, {**SMALL, **PLAIN, "KICK": True}),
    (cuda_pair.energies_of_rows, 4, {**LARGE, **MIXED}),
    (cuda_pair.reverse_of_rows, 4, {**SMALL, **PLAIN, "KIND": 1, "RESCALED": True, "DRIFT": True, "COPIES": 16}),
    (cuda_pair.reverse_of_rows, 4, {**LARGE, **MIXED, "KIND": 2, "RESCALED": False, "DRIFT": True, "COPIES": 16}),
    (cuda_step.advance, 1, {"BLOCK": 4, "KIND": 1, "RESCALED": True, "TAPE": True}),
    (cuda_step.advance, 1, {"BLOCK": 16, "KIND": 2, "RESCALED": False, "TAPE": True}),
    (cuda_step.rescale, 1, {"BLOCK": 4}),
    (cuda_step.reverse_kicks, 1, {"BLOCK": 4, "RESCALED": True, "FIRST": False, "FRAME": True}),
    (cuda_rdf_loops.add_moments, 4, {**RDF, "SMEARED": True, "EXCLUDED": True}),
    (cuda_rdf_loops.add_moments, 4, {**RDF, "SMEARED": False, "EXCLUDED": False}),
    (cuda_rdf_loops.sum_slopes, 4, {**RDF, "EXCLUDED": True}),
    (cuda_thermostats.move_chain, 1, {**CHAIN, "CLOSE": True, "OPEN": True, "TAPE": True}),
    (cuda_thermostats.reverse_chain, 1, {**CHAIN, "CLOSE": True, "OPEN": True, "FRAME": True}),
]


def kind_of(kernel: object, name: str, real: str) -> str:
    if name in RDF_KINDS and kernel in {entry[0] for entry in KERNELS if entry[2].get("IMAGES")}:
        return RDF_KINDS[name]
    kinds = {"i32": NUMBERS, "*i32": INT32, "*i64": INT64, "*fp64": FLOAT64}
    return next((kind for kind, names in kinds.items() if name in names), f"*{real}")


def main() -> None:
    for real in ("fp64", "fp32"):
        for kernel, warps, constants in KERNELS:
            names = [name for name in kernel.arg_names if name not in constants]
            signature = {name: kind_of(kernel, name, real) for name in names} | dict.fromkeys(constants, "constexpr")
            source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
            if constants.get("SMEARED") is False:
                signature["moments"] = "*i64"
            options = {"num_warps": warps}
            compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
            print(kernel.__name__, real, len(compiled.asm["cubin"]))


if __name__ == "__main__":
    sys.exit(main())
