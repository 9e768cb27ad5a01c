"""Folders of finished stages with made-up curves: what reports are made of, without any simulation."""

from __future__ import annotations

import numpy as np

from asediff.workflow.results import Results
from asediff.workflow.stages.base import Record

R = np.arange(0.025, 7.5, 0.05)
U_R = np.linspace(2.2, 7.5, 200)
UNITS = {"u_r": "Å", "u": "eV", "u_error": "eV", "r": "Å", "temperature": "K", "fitted_at": "K"}


def curve(temperature):
    """Something like g(r) of the oxygens of water."""
    peak = 3.1 - 0.65 * (temperature - 288) / 100
    g = 1 + (peak - 1) * np.exp(-((R - 2.78) ** 2) / 0.025) - 0.2 * np.exp(-((R - 3.5) ** 2) / 0.15)
    return np.where(R < 2.5, g * np.exp(-((2.5 - R) ** 2) / 0.01), g + 0.1 * np.exp(-((R - 4.5) ** 2) / 0.3))


def finished(folder, kind, settings, parents, scalars, arrays):
    """Leave what a finished stage leaves; returns its folder."""
    folder.mkdir(parents=True)
    Record(kind, settings, {role: tuple(paths) for role, paths in parents.items()}).write(folder)
    Results(scalars, arrays, {name: UNITS.get(name, "1") for name in arrays}).write(folder)
    return folder


def reference(project, temperature, *, density=1.0, noise=0.004, seed=0):
    """A state."""
    random = np.random.default_rng(seed)
    g = curve(temperature) + noise * random.standard_normal(len(R)) * (R > 2.4)
    settings = {"temperature_K": temperature, "density_g_cm3": density, "molecules": 500}
    scalars = {
        "measured_temperature_K": temperature + 0.3,
        "measured_temperature_error_K": 0.4,
        "pressure_bar": 20.0,
        "pressure_error_bar": 15.0,
        "diffusion_A2_per_ps": 0.002 * (temperature - 180),
        "diffusion_error_A2_per_ps": 0.01,
        "diffusion_finite_size_A2_mPas_per_ps": 0.025,
        "md_steps": 70000,
        "seconds": 300.0,
    }
    arrays = {"r": R, "g": g, "g_error": np.where(R > 2.4, noise, 0.0)}
    folder = finished(project / f"reference_{temperature}_{density:g}_0", "reference", settings, {}, scalars, arrays)
    (folder / "rdf.png").write_bytes(b"a figure")
    return folder


def fit(project, kind, references, *, dependent=False, not_converged=False):
    """A potential of all the references."""
    temperatures = [Record.load(one).settings["temperature_K"] for one in references]
    well = np.exp(-((U_R - 2.8) ** 2) / 0.05)
    shape = 0.05 * (2.6 / U_R) ** 14 - 0.02 * well - 0.004 * np.exp(-((U_R - 4.6) ** 2) / 0.4)
    scale = [1 + (0.001 * (T - 288) if dependent or len(temperatures) == 1 else 0) for T in temperatures]
    arrays = {"temperature": np.array(temperatures, float), "u_r": U_R, "u": np.stack([s * shape for s in scale])}
    if not dependent:
        arrays["u_error"] = np.where(U_R > 2.4, 0.0005, np.nan)
    scalars = {
        "method": kind,
        "md_steps": 123456,
        "seconds": 12.3,
        "stopped": "10 iterations",
        "not_converged": not_converged,
        "verified": True,
    }
    name = f"{kind}_{'_'.join(f'{T}' for T in temperatures)}_0"
    folder = finished(project / name, kind, {"mass": 18.0154}, {"reference": references}, scalars, arrays)
    (folder / "fit").mkdir()
    (folder / "fit" / "report.html").write_text("a report")
    return folder


def validation(project, fitted, state, *, systematic=0.0, noise=0.003, seed=1):
    """A run of a potential at a state, whose g(r) is off by a systematic part and noise."""
    random = np.random.default_rng(seed)
    wanted, found = Results.load(state).arrays, Results.load(fitted)
    ripple = systematic * np.sin(2 * np.pi * (R - 2.4) / 2.8) * (R > 2.4)
    g = (
        curve(Record.load(state).settings["temperature_K"])
        + ripple
        + noise * random.standard_normal(len(R)) * (R > 2.4)
    )
    scalars = {
        "method": found.scalars["method"],
        "temperature_K": float(Record.load(state).settings["temperature_K"]),
        "pressure_bar": 6000.0 + 100 * seed,
        "pressure_error_bar": 20.0,
        "md_steps": 50000,
        "seconds": 20.0,
    }
    arrays = {
        "fitted_at": found.arrays["temperature"],
        "r": R,
        "g": g,
        "g_error": np.where(R > 2.4, noise, 0.0),
        "g_reference": wanted["g"],
        "g_reference_error": wanted["g_error"],
    }
    name = f"validate_{fitted.name}_at_{state.name}"
    parents = {"potential": [fitted], "reference": [state]}
    return finished(project / name, "validate", {}, parents, scalars, arrays)


def chain(project, temperatures=(288, 338, 388), kinds=("ibi", "gauss_newton", "reweighting", "diffsim")):
    """All of a chain of water: validations, fits and references."""
    references = [reference(project, T, seed=k) for k, T in enumerate(temperatures)]
    fits = [fit(project, kind, [one]) for kind in kinds for one in references]
    fits.append(fit(project, "diffsim", references, dependent=True))
    validations = []
    for k, one in enumerate(fits):
        for state in references:
            T, at = Results.load(one).arrays["temperature"], Record.load(state).settings["temperature_K"]
            far = np.abs(T - at).min()
            off = (0.004 if len(T) > 1 else 0.0) + 0.0009 * far
            validations.append(validation(project, one, state, systematic=off, seed=17 * k + at))
    return validations, fits, references
