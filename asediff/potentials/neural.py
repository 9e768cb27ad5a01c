"""Neural radial function: a Gaussian basis of the distance and a multilayer perceptron (eq. 7 of arXiv:2209.07679)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from asediff.checks.described import Doc
from asediff.potentials.radial import Radial

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
}


class NeuralRadial(Radial):
    """u(r) = scale · MLP(e(r)), e_k(r) = exp(-(r - μ_k)²/(2 w_k²)).

    The centres μ_k are fixed, from 0 to `r_max`; the widths w_k are trainable. (The papers print exp(-(r - μ)²/d) with
    a length d where a squared length belongs; a Gaussian of standard deviation w is meant here.) The last layer starts
    at zero, so an untrained function is zero and a sum with a prior starts as the prior.
    """

    kind: ClassVar[str] = "neural"
    centers: Tensor

    def __init__(
        self,
        r_max: Annotated[float, Doc("distance that the centres reach; usually the cutoff", unit="length")],
        *,
        n_basis: Annotated[int, Doc("number of Gaussians")] = 100,
        width: Annotated[float | None, Doc("initial w_k; default four centre spacings", unit="length")] = None,
        hidden: Annotated[Sequence[int], Doc("nodes of each hidden layer")] = (128, 128, 128),
        activation: Annotated[str, Doc("one of elu, selu, silu, tanh, softplus, gelu")] = "elu",
        scale: Annotated[float, Doc("energy of one network output unit")] = 1.0,
        seed: Annotated[int, Doc("of the initial weights")] = 0,
        dtype: Annotated[
            torch.dtype, Doc("of the weights; r is converted and the result returned in r's type")
        ] = torch.float64,
    ) -> None:
        super().__init__()
        if not r_max > 0:
            raise ValueError(f"r_max: {r_max} is not positive; give the cutoff of the potential")
        if n_basis < 2:
            raise ValueError(f"n_basis: {n_basis} is too small; give at least 2 Gaussians")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: {activation!r} is unknown; choose one of {', '.join(ACTIVATIONS)}")
        if any(n < 1 for n in hidden):
            raise ValueError(f"hidden: {list(hidden)} has a layer without nodes; give at least 1 node each")
        spacing = r_max / (n_basis - 1)
        width = 4 * spacing if width is None else width
        if not width > 0:
            raise ValueError(f"width: {width} is not positive; give a length > 0")
        self._config: dict[str, Any] = {
            "r_max": float(r_max),
            "n_basis": int(n_basis),
            "width": float(width),
            "hidden": [int(n) for n in hidden],
            "activation": activation,
            "scale": float(scale),
            "seed": int(seed),
            "dtype": str(dtype).removeprefix("torch."),
        }
        self.scale = float(scale)
        self.register_buffer("centers", torch.linspace(0.0, r_max, n_basis, dtype=dtype))
        self.log_widths = nn.Parameter(torch.full((n_basis,), float(width), dtype=dtype).log())
        layers: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sizes = [n_basis, *self._config["hidden"]]
            for n_in, n_out in itertools.pairwise(sizes):
                layers += [nn.Linear(n_in, n_out, dtype=dtype), ACTIVATIONS[activation]()]
            last = nn.Linear(sizes[-1], 1, dtype=dtype)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(*layers, last)

    def forward(self, r: Tensor, kT: Tensor | None = None) -> Tensor:
        """See the class."""
        x = (r.to(self.centers.dtype)[:, None] - self.centers) * torch.exp(-self.log_widths)
        # far from its centre a Gaussian ends at the root of the smallest number: subnormal ones slow float32 by half
        far = -0.5 * math.log(torch.finfo(x.dtype).tiny)
        return self.scale * self.mlp(torch.exp(-(0.5 * x * x).clamp(max=far)))[:, 0].to(r.dtype)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return dict(self._config)
