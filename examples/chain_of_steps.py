"""A chain that is not molecular dynamics: the pulse that inverts a two-level system, by an exact adjoint.

The state is a wave function, a step the exponential of a Hamiltonian with that step's field, and `CheckpointAdjoint`
gives the derivative of the final population with respect to the field of every step.
"""

import torch

from asediff import Chain, CheckpointAdjoint


class Pulse(Chain):
    """H_k = (1/2) σ_z - field_k σ_x, ħ = 1; recorded is the population of the upper level."""

    def __init__(self, field, dt):
        self.parameters, self.n_steps, self.save_every, self.dt = (field,), len(field), len(field), dt

    def step(self, state, parameters, k):
        field = parameters[0][k]
        hamiltonian = torch.stack([torch.stack([0.5 + 0 * field, -field]), torch.stack([-field, -0.5 + 0 * field])])
        return (torch.linalg.matrix_exp(-1j * self.dt * hamiltonian) @ state[0],)

    def outputs(self, state):
        return (state[0][0].abs().square(),)


lower = torch.tensor([0.0, 1.0], dtype=torch.complex128)
field = torch.full((100,), 0.05, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.Adam([field], lr=0.01)
for epoch in range(80):
    optimizer.zero_grad()
    population = CheckpointAdjoint().run(Pulse(field, dt=0.1), (lower,)).frames[0].sum()
    (-population).backward()
    optimizer.step()
    if epoch % 20 == 0:
        print(f"epoch {epoch:2d}: population {float(population.detach()):.4f}")
print(f"population of the upper level after {epoch + 1} epochs: {float(population.detach()):.4f}")
assert population > 0.99
