import numpy as np
import pytest
from brute_force import batch, chains, lattice, stepper, tables
from sampling import seed as shifted
from scipy.interpolate import CubicSpline

from asediff.kernels.arrays import LANGEVIN, NOSE_HOOVER, NVE
from asediff.kernels.cpu import descent as cpu_descent
from asediff.kernels.cpu import rollout as cpu_rollout
from asediff.kernels.cpu.descent import rollout_vjp
from asediff.kernels.cpu.rollout import rollout
from asediff.kernels.cpu.space import BUILDS, make_space
from asediff.kernels.cpu.static import pair_forces
from asediff.kernels.cpu.team import set_num_threads

KINDS = [NVE, NOSE_HOOVER, LANGEVIN]
NAMES = {NVE: "nve", NOSE_HOOVER: "chain", LANGEVIN: "langevin"}
GRADIENT_FIELDS = ("coefficients", "positions", "velocities", "chain")


@pytest.fixture(params=KINDS, ids=NAMES.get)
def kind(request):
    return request.param


@pytest.fixture(autouse=True)
def _threads():
    yield
    set_num_threads(None)


def mixed_batch():
    """Three systems, cubic and skewed, of two types with different masses."""
    parts = [lattice(5, 0.7), lattice(6, 0.8, [[1, 0, 0], [0.4, 1, 0], [0.1, 0, 1]], seed=1), lattice(5, 0.5, seed=2)]
    counts = [len(x) for x, _ in parts]
    rng = np.random.default_rng(3)
    types = rng.integers(0, 2, sum(counts))
    b = batch([c for _, c in parts], counts, types=types, masses=1.0 + 0.7 * types)
    t = tables(3, table_index=((0, 1), (1, 2)), n_systems=3)
    x = np.concatenate([x for x, _ in parts])
    v = rng.normal(size=x.shape)
    for s in range(3):
        inside = slice(b.offsets[s], b.offsets[s + 1])
        v[inside] -= np.average(v[inside], axis=0, weights=b.masses[inside])
    return x, v, b, t


def chain_of(b, step, seed=4):
    return 0.3 * np.random.default_rng(seed).normal(size=(b.n_systems, 2, step.chain_masses.shape[1]))


def weights(record, seed=5):
    rng = np.random.default_rng(seed)
    shapes = (
        record.frame_positions.shape,
        record.frame_velocities.shape,
        record.positions.shape,
        record.velocities.shape,
        record.chain.shape,
    )
    return [rng.normal(size=shape) for shape in shapes]


def loss(record, w):
    values = (
        record.frame_positions,
        record.frame_velocities,
        record.positions,
        record.velocities,
        record.chain,
    )
    return sum(float((a * b).sum()) for a, b in zip(values, w, strict=True))


@pytest.mark.sampled
@pytest.mark.parametrize("kind", [NVE, NOSE_HOOVER], ids=NAMES.get)
def test_energy_is_conserved_over_many_rebuilds(kind):
    x, cell = lattice(6, 0.7)
    b, t = batch([cell], [len(x)]), tables()
    rng = np.random.default_rng(shifted(6))
    v = rng.normal(size=x.shape)
    v -= v.mean(0)
    step = stepper(kind, b, timestep=0.0005)
    record = rollout(x, v, chain_of(b, step), b, t, step, 10_000, 50)
    conserved = record.thermo[20:, 0, 2]
    # several skins of 0.3; over 12 seeds the farthest atom moves by 3 to 4
    assert np.abs(record.positions - x).max() > 1.5
    # A shadow energy is conserved, so this one fluctuates by order timestep², largest in the hardest collision of the
    # run, and does not drift; one pair missed in a list would be a step of 1e-4 of the energy of about 1 per atom.
    # Over 12 seeds the fluctuation is 2e-5, to a factor of 1.4, and the drift below 2e-6.
    assert np.abs(conserved - conserved.mean()).max() < 2e-4 * len(x)
    assert abs(conserved[90:].mean() - conserved[:90].mean()) < 3e-5 * len(x)
    # no pair is missing at any frame
    static = pair_forces(record.frame_positions, b, t)
    np.testing.assert_allclose(record.thermo[..., 0], static.energy, rtol=1e-11)


@pytest.mark.parametrize("mode", ["stored", "replay", "reverse"])
def test_gradient_equals_central_differences(kind, mode):
    """Of chains whose pairs are excluded or weighted."""
    x, v, b, t = mixed_batch()
    b = b._replace(exclusions=chains(b.offsets))
    step = stepper(kind, b)
    chain = chain_of(b, step)

    def forward(x, v, chain, coefficients, snapshot_every=0):
        return rollout(
            x, v, chain, b, t._replace(coefficients=coefficients), step, 24, 8, snapshot_every=snapshot_every
        )

    record = forward(x, v, chain, t.coefficients, snapshot_every=1 if mode == "stored" else 5)
    w = weights(record)
    gradient = rollout_vjp(record, *w, mode=mode)
    start = [t.coefficients, x, v, chain]
    rng = np.random.default_rng(8)
    smooth = t.coefficients * (1.0 + 0.3 * np.sin(np.arange(t.coefficients.shape[1]) / 60.0))[None, :, None]
    for k, name in enumerate(GRADIENT_FIELDS):
        if start[k].size == 0:
            continue
        along = smooth if k == 0 else rng.normal(size=start[k].shape)
        # small steps, for the third derivative of a cubic spline jumps at every knot that a pair crosses
        h, values = 1e-6, []
        for sign in (1, -1):
            moved = list(start)
            moved[k] = start[k] + sign * h * along
            values.append(loss(forward(moved[1], moved[2], moved[3], moved[0]), w))
        slope = (values[0] - values[1]) / (2 * h)
        found = getattr(gradient, name)
        scale = np.sqrt((found**2).sum() * (along**2).sum())
        np.testing.assert_allclose((found * along).sum(), slope, rtol=1e-6, atol=1e-8 * scale, err_msg=name)


def test_the_modes_agree(kind):
    x, v, b, t = mixed_batch()
    step = stepper(kind, b, first_step=3)
    chain = chain_of(b, step)
    stored = rollout(x, v, chain, b, t, step, 40, 10, snapshot_every=1)
    w = weights(stored)
    expected = rollout_vjp(stored, *w, mode="stored")
    for mode, every in [("replay", 1), ("replay", 7), ("replay", 0), ("reverse", 9), ("reverse", 0)]:
        record = rollout(x, v, chain, b, t, step, 40, 10, snapshot_every=every)
        found = rollout_vjp(record, *w, mode=mode)
        for name in GRADIENT_FIELDS:
            a, e = getattr(found, name), getattr(expected, name)
            limit = 1e-10 * np.abs(e).max(initial=0.0)
            np.testing.assert_allclose(a, e, rtol=0, atol=limit, err_msg=f"{mode} {every} {name}")


@pytest.mark.parametrize("mode", ["stored", "replay", "reverse"])
def test_a_reverse_pass_leaves_its_record_as_it_was(kind, mode):
    x, v, b, t = mixed_batch()
    step = stepper(kind, b)
    record = rollout(x, v, chain_of(b, step), b, t, step, 12, 4, snapshot_every=1 if mode == "stored" else 5)
    w = weights(record)
    first, second = (rollout_vjp(record, *w, mode=mode) for _ in range(2))
    for name in GRADIENT_FIELDS:
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_a_batch_equals_its_members(kind):
    x, v, b, t = mixed_batch()
    step = stepper(kind, b)
    chain = chain_of(b, step)
    record = rollout(x, v, chain, b, t, step, 20, 5, snapshot_every=4)
    w = weights(record)
    gradient = rollout_vjp(record, *w)
    coefficients = np.zeros_like(gradient.coefficients)
    for s in range(3):
        inside = slice(b.offsets[s], b.offsets[s + 1])
        one = slice(s, s + 1)
        member = batch([b.cell[s]], [inside.stop - inside.start], types=b.types[inside], masses=b.masses[inside])
        alone = step._replace(
            kT=step.kT[one],
            n_dof=step.n_dof[one],
            chain_masses=step.chain_masses[one],
            friction=step.friction[one],
            seeds=step.seeds[one],
        )
        single = rollout(
            x[inside],
            v[inside],
            chain[one],
            member,
            t._replace(table_index=t.table_index[one]),
            alone,
            20,
            5,
            snapshot_every=4,
        )
        assert np.array_equal(single.frame_positions, record.frame_positions[:, inside])
        assert np.array_equal(single.thermo[:, 0], record.thermo[:, s])
        part = rollout_vjp(single, w[0][:, inside], w[1][:, inside], w[2][inside], w[3][inside], w[4][one])
        assert np.array_equal(part.positions, gradient.positions[inside])
        assert np.array_equal(part.velocities, gradient.velocities[inside])
        assert np.array_equal(part.chain[0], gradient.chain[s])
        coefficients += part.coefficients
    np.testing.assert_allclose(coefficients, gradient.coefficients, rtol=0, atol=1e-12 * np.abs(coefficients).max())


@pytest.mark.parametrize("mode", ["stored", "replay", "reverse"])
def test_float32_gradient_agrees_to_a_thousandth(kind, mode):
    x, v, b, t = mixed_batch()
    step = stepper(kind, b)
    chain = chain_of(b, step)
    every = 1 if mode == "stored" else 6
    record = rollout(x, v, chain, b, t, step, 30, 10, snapshot_every=every)
    w = weights(record)
    expected = rollout_vjp(record, *w, mode=mode)
    single = np.float32
    low = rollout(
        x.astype(single),
        v.astype(single),
        chain.astype(single),
        b._replace(masses=b.masses.astype(single)),
        t._replace(coefficients=t.coefficients.astype(single)),
        stepper(kind, b, dtype=single),
        30,
        10,
        snapshot_every=every,
    )
    found = rollout_vjp(low, *(a.astype(single) for a in w), mode=mode)
    # A pair within round-off of a knot may count in the interval next to it; the gradient with respect to the values
    # at the knots, of splines that end with value and slope zero at the cutoff, does not notice.
    n_knots = t.coefficients.shape[1] + 1
    ends = ((2, np.zeros(n_knots - 1)), (1, np.zeros(n_knots - 1)))
    c = CubicSpline(np.arange(n_knots), np.eye(n_knots)[:, :-1], bc_type=ends).c[::-1]
    for name in GRADIENT_FIELDS:
        a, e = getattr(found, name), getattr(expected, name)
        assert a.dtype == single
        if name == "coefficients":
            a, e = (np.einsum("tkc,ckn->tn", g.astype(np.float64), c) for g in (a, e))
        if e.size:
            assert np.linalg.norm(a - e) < 1e-3 * np.linalg.norm(e), name


@pytest.mark.parametrize("bonded", [False, True], ids=["", "bonded"])
def test_runs_are_independent_of_threads_and_gradients_to_round_off(kind, bonded):
    x, cell = lattice(11, 0.8, [[1, 0, 0], [0.2, 1, 0], [0, 0, 1]])
    b, t = batch([cell], [len(x)]), tables()
    b = b._replace(exclusions=chains(b.offsets) if bonded else None)
    v = np.random.default_rng(9).normal(size=x.shape)
    step = stepper(kind, b)
    chain = chain_of(b, step)
    results = {}
    for threads in (1, 2, 3):
        set_num_threads(threads)
        for repeat in range(2):
            record = rollout(x, v, chain, b, t, step, 30, 10, snapshot_every=6)
            w = weights(record)
            results[threads, repeat] = record, rollout_vjp(record, *w)
    for threads in (1, 2, 3):
        first, second = results[threads, 0], results[threads, 1]
        for name in ("frame_positions", "frame_velocities", "positions", "velocities", "chain"):
            assert np.array_equal(getattr(first[0], name), getattr(results[1, 0][0], name))
            assert np.array_equal(getattr(second[0], name), getattr(results[1, 0][0], name))
        assert np.array_equal(first[0].thermo, second[0].thermo)
        np.testing.assert_allclose(first[0].thermo, results[1, 0][0].thermo, rtol=1e-12)
        for name in GRADIENT_FIELDS:
            assert np.array_equal(getattr(first[1], name), getattr(second[1], name))
            a, e = getattr(first[1], name), getattr(results[1, 0][1], name)
            np.testing.assert_allclose(a, e, rtol=0, atol=1e-10 * np.abs(e).max(initial=0.0))


@pytest.mark.parametrize("skin", [0.01, 0.08, 0.5])
def test_lists_of_states_further_back_serve_those_around_them(kind, skin):
    x, v, b, t = mixed_batch()
    step = stepper(kind, b)
    record = rollout(x, v, chain_of(b, step), b, t, step, 40, 10, snapshot_every=1, skin=skin)
    w = weights(record)
    # stepping back makes its lists where it stands
    stored, stepped = (rollout_vjp(record, *w, mode=mode) for mode in ("stored", "reverse"))
    for name in GRADIENT_FIELDS:
        a, e = getattr(stored, name), getattr(stepped, name)
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-10 * np.abs(e).max(initial=0.0))


@pytest.mark.sampled
def test_a_reverse_pass_through_stored_states_builds_half_as_many_lists(monkeypatch):
    spaces = []

    def remembered(*arguments, **options):
        spaces.append(make_space(*arguments, **options))
        return spaces[-1]

    for module in (cpu_rollout, cpu_descent):
        monkeypatch.setattr(module, "make_space", remembered)
    x, cell = lattice(8, 0.7)
    b, t = batch([cell], [len(x)]), tables()
    step = stepper(NVE, b)
    v = np.random.default_rng(shifted(9)).normal(size=x.shape)
    record = rollout(x, v, chain_of(b, step), b, t, step, 200, 100, snapshot_every=1, skin=0.2)
    rollout_vjp(record, *weights(record), mode="stored")
    forward, backward = (int(space.control[BUILDS]) for space, _ in spaces)
    assert forward > 10
    # over 10 seeds 0.600, with a scatter of 0.011: 13 standard deviations
    assert backward < 0.75 * forward


def test_a_clustering_system_outgrows_its_rows():
    rng = np.random.default_rng(10)
    x = rng.uniform(0, 12.0, size=(150, 3))
    x[:, 0] = 5.0 + 0.3 * x[:, 0]
    b = batch([np.eye(3) * 20.0], [150])
    t = tables(s_lo=1.0)
    start = pair_forces(x, b, t).forces
    x += 0.02 * start / np.maximum(1.0, np.abs(start))
    step = stepper(LANGEVIN, b, timestep=0.001, friction=20.0, kT=0.05)
    attractive = t._replace(coefficients=10.0 * np.minimum(t.coefficients, 0.0))
    chain = chain_of(b, step)
    record = rollout(x, np.zeros_like(x), chain, b, attractive, step, 300, 100, snapshot_every=17)
    assert record.failed_step == -1
    static = pair_forces(record.positions, b, attractive)
    np.testing.assert_allclose(record.thermo[-1, 0, 0], static.energy[0], rtol=1e-11)
    w = weights(record)
    stepped, replayed = (rollout_vjp(record, *w, mode=m) for m in ("reverse", "replay"))
    limit = 1e-6 * np.abs(replayed.positions).max()
    np.testing.assert_allclose(stepped.positions, replayed.positions, rtol=0, atol=limit)


def test_a_run_that_explodes_says_when():
    x, cell = lattice(6, 0.7)
    b, t = batch([cell], [len(x)]), tables()
    step = stepper(NVE, b)
    v = np.zeros_like(x)
    v[5, 1] = 2.6 / 0.005
    record = rollout(x, v, chain_of(b, step), b, t, step, 20, 10, skin=0.1)
    assert record.failed_step == 1
    with pytest.raises(ValueError, match="failed at step 1"):
        rollout_vjp(record, *weights(record))
    v[5, 1] = np.nan
    assert rollout(x, v, chain_of(b, step), b, t, step, 20, 10).failed_step == 1
    x[7] = np.nan
    assert rollout(x, 0 * x, chain_of(b, step), b, t, step, 20, 10).failed_step >= 0


def test_no_steps_and_no_frames_are_fine(kind):
    x, v, b, t = mixed_batch()
    step = stepper(kind, b)
    chain = chain_of(b, step)
    record = rollout(x, v, chain, b, t, step, 0, 1)
    assert np.array_equal(record.positions, x)
    w = weights(record)
    for mode in ("replay", "reverse"):
        gradient = rollout_vjp(record, *w, mode=mode)
        assert np.array_equal(gradient.positions, w[2])
        assert np.array_equal(gradient.chain, w[4])
        assert not gradient.coefficients.any()


def test_what_cannot_be_done_is_an_error():
    x, v, b, t = mixed_batch()
    step = stepper(NVE, b)
    chain = chain_of(b, step)
    with pytest.raises(ValueError, match="velocities: type float32 differs from the positions' float64"):
        rollout(x, v.astype(np.float32), chain, b, t, step, 5, 1)
    with pytest.raises(ValueError, match="save_every=0"):
        rollout(x, v, chain, b, t, step, 5, 0)
    record = rollout(x, v, chain, b, t, step, 5, 1, snapshot_every=2)
    with pytest.raises(ValueError, match="snapshot_every=2; run with snapshot_every=1"):
        rollout_vjp(record, *weights(record), mode="stored")
    with pytest.raises(ValueError, match="n_threads=0"):
        set_num_threads(0)


def test_more_weights_than_there_is_room_for_are_refused():
    x, v, b, t = mixed_batch()
    b = b._replace(exclusions=chains(b.offsets, 40, weights=np.linspace(0.0, 0.9, 30)))
    step = stepper(NVE, b)
    with pytest.raises(ValueError, match=r"table_index: system \d uses 3 tables with 30 weights of exclusions"):
        rollout(x, v, chain_of(b, step), b, t, step, 5, 1)
