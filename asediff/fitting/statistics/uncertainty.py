"""What g(r) does not tell about u(r): error band and insensitive directions of a fitted pair potential.

Around the fitted potential the averages are linear, g(u + x) = g + J x with J = dg/du = -β Cov(g, n). With a Gaussian
prior for x (amplitude σ_0, correlation length ℓ: K(r, r') = σ_0² exp(-(r - r')²/2ℓ²)) and the covariance Σ_g of the
measured and the wanted curves,

    Σ_u = (Jᵀ Σ_g⁻¹ J + K⁻¹)⁻¹ = K - K Jᵀ (J K Jᵀ + Σ_g)⁻¹ J K.

Its diagonal is the band; its leading eigenvectors are the changes of u(r) that leave the data alone (by
Henderson's theorem there is none for exact data; noise and a finite range make them many).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from asediff.fitting.statistics.averages import PairFunction
from asediff.fitting.statistics.histograms import FrameStatistics
from asediff.fitting.statistics.samples import Sample
from asediff.potentials.base import Potential
from asediff.potentials.pair import check_pairwise

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class UncertaintyBand:
    """Error band of a pair potential.

    Attributes:
        names: pairs of species.
        r: `(n_rows,)`, length.
        u: `(n_names, n_rows)`, the potential, energy.
        error: `(n_names, n_rows)`, its standard error, energy.
        prior: amplitude of the prior, energy: an error as large as this means that the data say nothing.
        modes: `(n_modes, n_names, n_rows)`, changes of u by one standard deviation along the least known directions,
            energy, the largest first.
        known: `(n_modes,)`, share of the prior variance of each mode that the data removed: 0 means insensitive.
        singular_values: `(n,)`, of Σ_g^-1/2 J K^1/2, descending; directions above 1 are determined by the data.
    """

    names: tuple[str, ...]
    r: FloatArray
    u: FloatArray
    error: FloatArray
    prior: float
    modes: FloatArray
    known: FloatArray
    singular_values: FloatArray

    @property
    def n_determined(self) -> int:
        """Number of directions of u(r) that the data determine better than the prior."""
        return int((self.singular_values > 1.0).sum())

    def plot(self, pair: int = 0, *, ax: Axes | None = None) -> Axes:
        """Draw u(r) of a pair with its band and the least known directions below it."""
        from asediff.plotting import new_axes

        ax = new_axes() if ax is None else ax
        u, error, modes = self.u[pair], self.error[pair], self.modes[:, pair]
        outside = self.r > self.r[int(u.argmin())]
        depth = max(float(np.ptp(u[outside])), 1e-12)
        shown = _nice(0.3 * depth / float(np.median(error[outside])))
        ax.plot(self.r, u, color="k", label=f"u(r) {self.names[pair]}")
        name = "±1 standard error" if shown == 1 else f"±{shown:g} standard errors"
        ax.fill_between(self.r, u - shown * error, u + shown * error, alpha=0.3, label=name)
        low = float(u.min()) - 0.8 * depth
        scale = _nice(0.5 * depth / float(np.abs(modes).max()))
        for k, mode in enumerate(modes):
            ax.plot(self.r, low + scale * mode, lw=1.0, label=f"least known change {k + 1}, x {scale:g}")
        ax.set_ylim(low - 0.8 * depth, float(u.min()) + 3.0 * depth)
        ax.set_xlabel("r")
        ax.set_ylabel("energy")
        ax.legend(frameon=False, fontsize=8)
        return ax


def uncertainty_band(
    potential: Potential,
    samples: Sequence[Sample],
    *,
    rows: int = 100,
    prior: float | None = None,
    length: float | None = None,
    error_floor: float = 2e-3,
    n_modes: int = 4,
) -> UncertaintyBand:
    """Band and insensitive directions from runs with a fitted potential; runs at more conditions narrow the band.

    Args:
        potential: the fitted one, with which the samples were made.
        samples: one per state point, from `asediff.fitting.sample`.
        rows: number of distances between the first sampled one and the cutoff.
        prior: σ_0, energy; default the kT of the first state point.
        length: ℓ, length; default a twentieth of the cutoff.
        error_floor: smallest standard error of g(r) that is believed.
        n_modes: number of directions kept.

    Raises:
        ValueError: no sample with frames.
    """
    potential = check_pairwise(potential, "an error band")
    statistics = [s.statistics for s in samples if isinstance(s.statistics, FrameStatistics)]
    if not statistics:
        raise ValueError("samples: none has frames, so there is no covariance; run TorchEngine or LammpsEngine")
    kT = float(statistics[0].state_point.kT)
    sigma = kT if prior is None else float(prior)
    scale = potential.cutoff / 20.0 if length is None else float(length)
    names = statistics[0].names
    first = min(float(one.r[0]) for one in statistics)
    r = np.linspace(first, potential.cutoff, rows + 1)[:-1]
    basis = hat_functions(r, potential.cutoff, names)
    block = sigma**2 * np.exp(-0.5 * ((r[:, None] - r) / scale) ** 2)
    prior_matrix = np.kron(np.eye(len(names)), block)
    jacobians, covariances = [], []
    for one, sample in zip(statistics, samples, strict=True):
        response = one.response(basis)
        for t, target in enumerate(one.state_point.targets):
            jacobians.append(response.values[t].numpy())
            covariances.append(
                _covariance(one, t) + np.diag(error_floor**2 + _square(target.error, len(target.reference)))
            )
        if one.state_point.pressure is not None:
            jacobians.append(response.pressure.numpy()[None])
            covariances.append(np.array([[max(sample.measurement.pressure_error, 1e-12) ** 2]]))
    jacobian = np.concatenate(jacobians)
    noise = _block_diagonal(covariances)
    gain = prior_matrix @ jacobian.T
    posterior = prior_matrix - gain @ np.linalg.solve(jacobian @ gain + noise, gain.T)
    values, vectors = np.linalg.eigh(0.5 * (posterior + posterior.T))
    order = np.argsort(values)[::-1][:n_modes]
    modes = (vectors[:, order] * np.sqrt(np.maximum(values[order], 0.0))).T
    before = np.einsum("mi,ij,mj->m", vectors[:, order].T, prior_matrix, vectors[:, order].T)
    root = np.linalg.cholesky(prior_matrix + 1e-10 * sigma**2 * np.eye(len(prior_matrix)))
    whitened = np.linalg.solve(np.linalg.cholesky(noise), jacobian @ root)
    grid = torch.from_numpy(r)
    with torch.no_grad():
        u = np.stack([potential.function(grid, name, kT).numpy() for name in names])
    return UncertaintyBand(
        names=names,
        r=r,
        u=u,
        error=np.sqrt(np.maximum(np.diag(posterior), 0.0)).reshape(len(names), -1),
        prior=sigma,
        modes=modes.reshape(len(order), len(names), -1),
        known=1.0 - values[order] / before,
        singular_values=np.linalg.svd(whitened, compute_uv=False),
    )


def _nice(factor: float) -> float:
    """The largest of 1, 2, 5, 10, 20, ... not above a factor."""
    power = 10.0 ** np.floor(np.log10(max(factor, 1.0)))
    return float(max(m for m in (1.0, 2.0, 5.0) if m * power <= max(factor, 1.0)) * power)


def hat_functions(r: FloatArray, cutoff: float, names: Sequence[str]) -> PairFunction:
    """Linear interpolation between values at r, zero at the cutoff, for each pair: a basis of u(r)."""
    step = float(r[1] - r[0])

    def basis(x: Tensor, name: str) -> Tensor:
        values = torch.zeros(len(x), len(names) * len(r), dtype=torch.float64)
        for k, own in enumerate(names):
            if own in ("all", name):
                hats = (1.0 - (x[:, None] - torch.from_numpy(r)).abs() / step).clamp_min(0.0)
                values[:, k * len(r) : (k + 1) * len(r)] = torch.where(x[:, None] < cutoff, hats, 0.0)
        return values

    return basis


def _covariance(one: FrameStatistics, t: int) -> FloatArray:
    values = one.values[t] - one.values[t].mean(0)
    return np.asarray((values.T @ values).numpy() / one.n_frames / one.independent_frames)


def _square(error: Tensor | None, n: int) -> FloatArray:
    return np.zeros(n) if error is None else np.asarray(error.numpy()) ** 2


def _block_diagonal(blocks: Sequence[FloatArray]) -> FloatArray:
    sizes = np.cumsum([0, *(len(b) for b in blocks)])
    result = np.zeros((sizes[-1], sizes[-1]))
    for block, a, b in zip(blocks, sizes[:-1], sizes[1:], strict=True):
        result[a:b, a:b] = block
    return result
