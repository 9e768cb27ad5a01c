"""Whatever bytes or values come, the outcome is a result or a `ValueError` of one line, never another exception.

The examples are the same in every run; more of them: `ASEDIFF_FUZZ=5000 python -m pytest tests/app/test_fuzz.py`.
"""

import copy
import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from asediff import LennardJones, PairPotential
from asediff.app.config import Config, override, parse, plan, read_yaml, resolve, to_yaml
from asediff.fitting import FitJob
from asediff.fitting.api import CHECKPOINT
from asediff.fitting.result import KIND
from asediff.host.folders import ResultFolder
from asediff.targets.curves import read_curve

MORE = int(os.environ.get("ASEDIFF_FUZZ", "0"))


def examples(count):
    """Settings of a test: a fixed set of examples, no deadline."""
    return settings(
        max_examples=MORE or count,
        derandomize=not MORE,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def outcome(call, *arguments):
    """The result, or None after a `ValueError` of one line."""
    try:
        return call(*arguments)
    except ValueError as error:
        told = str(error)
    assert told.strip()
    assert "\n" not in told
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two curves and a structure, which the configurations name."""
    path = tmp_path_factory.mktemp("fuzz")
    r = np.linspace(0.02, 4.0, 200)
    for name, peak in (("g.txt", 1.1), ("other.txt", 1.2)):
        g = np.where(r < 0.85 * peak, 0.0, 1 + 1.5 * np.exp(-((r - peak) ** 2) / 0.02))
        np.savetxt(path / name, np.column_stack([r, g]))
    (path / "bad.xyz").write_bytes(b"\xff")
    return path


SCRAPS = st.one_of(
    st.floats().map(repr),
    st.integers(-3, 300).map(str),
    st.sampled_from([*",; \t\n#@+é²\0", "\n\n", "0,05", "r g", "nan", "1e400", "1e-400"]),
    st.text(max_size=4),
)
CURVE_LINES = st.lists(
    st.tuples(st.floats(-0.1, 20.0), st.floats(-0.01, 2000.0), st.sampled_from([" ", ",", ";", "\t"])),
    max_size=40,
)


class TestCurves:
    @examples(300)
    @given(st.binary(max_size=400))
    @example(b"")
    @example(b"\xef\xbb\xbf0 0\n")
    def test_any_bytes(self, folder, data):
        (folder / "any").write_bytes(data)
        outcome(read_curve, folder / "any")

    @examples(300)
    @given(st.lists(SCRAPS, max_size=80).map("".join))
    def test_any_scraps_of_curves(self, folder, text):
        (folder / "any").write_bytes(text.encode("utf-8", "surrogatepass"))
        outcome(read_curve, folder / "any")

    @examples(300)
    @given(CURVE_LINES, st.booleans())
    def test_any_columns_of_numbers(self, folder, lines, sort):
        rows = sorted(lines) if sort else lines
        (folder / "any").write_text("".join(f"{r!r}{separator}{g!r}\n" for r, g, separator in rows))
        curve = outcome(read_curve, folder / "any")
        if curve is not None:
            assert (np.diff(curve[0]) > 0).all()
            assert (curve[1] >= 0).all()


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.integers(-2, 40),
        st.floats(),
        st.sampled_from(
            [0.0, 1e-320, 1e308, 10**400, "g.txt", "other.txt", "bad.xyz", ".", "/dev/zero", "", "O", "Ar"]
        ),
        st.sampled_from(["ibi", "imc", "ihnc", "gauss_newton", "diffsim", "reweighting", "lammps", "torch"]),
        st.text(max_size=5),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["kind", "file", "pair", "kT", "Ar", "Ar-Ar"]), st.text(max_size=3), st.integers()
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=5,
)
WORDS = [
    *"[]{}:,-?!&*|>'\"%@`#~=<\x85é \n",
    "  ",
    "\n  ",
    ": ",
    "- ",
    "a",
    "b",
    "&a ",
    "*a",
    "<<: ",
    "!!int ",
    "1",
    ".5e3",
    "0x",
]


def minimal():
    return {
        "units": "lj",
        "system": {"density": 0.7, "n_atoms": 256},
        "state_points": [{"kT": 1.0, "targets": [{"file": "g.txt", "rdf": {}}]}],
        "potential": {"radial": {"kind": "neural"}},
        "method": {"kind": "diffsim"},
        "validation": {"kind": "torch"},
        "export": {},
    }


def places(value, path=()):
    """Paths of everything inside; of what has nothing inside twice."""
    found = [path] * (1 if isinstance(value, dict | list) else 2) if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for key, inner in items for place in places(inner, (*path, key))]


def whole(kind):
    """A complete configuration with a method, every default written out."""
    data = minimal() | {"method": {"kind": kind}}
    del data["potential"]
    return parse(data).model_dump(exclude={"potential"})


WHOLE = [whole(kind) for kind in ("diffsim", "reweighting", "ibi", "gauss_newton")] + [minimal()]


NEW_KEYS = ["file", "kind", "name", "pair", "pressure", "composition", "masses", "x"]


POWERS = st.builds(lambda mantissa, power: mantissa * 10.0**power, st.floats(0.5, 5.0), st.integers(-16, 16))


def like(value):
    """Values of the type of another one, as far as the schema can tell."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.one_of(st.integers(-1, 300), POWERS.map(int), st.just(2 * value))
    if isinstance(value, float):
        return st.one_of(POWERS, POWERS.map(lambda x: -x), st.floats(0.2, 5.0).map(lambda x: x * value))
    if isinstance(value, list):
        return st.one_of(st.just([]), st.just(value * 2), st.lists(st.integers(1, 9), max_size=3))
    return st.one_of(POWERS, st.integers(0, 300), VALUES) if value is None else VALUES


@st.composite
def damaged(draw):
    """A configuration with values in it replaced by others, or keys removed or added."""
    data = copy.deepcopy(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(places(data)))
        node = data
        for key in parents:
            node = node[key]
        action = draw(st.sampled_from(["vary"] * 8 + ["replace", "remove", "add"]))
        if action == "remove":
            del node[last]
        elif action == "add" and isinstance(node, dict):
            node[draw(st.sampled_from(["file", "kind", "name", "pair", "pressure", "composition", "masses", "x"]))] = (
                draw(VALUES)
            )
        else:
            node[last] = draw(like(node[last]) if action == "vary" else VALUES)
        if not places(data):
            break
    return data


class TestConfigurations:
    @examples(300)
    @given(st.binary(max_size=200))
    @example(b"a: !!timestamp x")
    @example(b"? {a: 1}\n: 2")
    def test_any_bytes(self, folder, data):
        (folder / "any.yaml").write_bytes(data)
        outcome(read_yaml, folder / "any.yaml")

    @examples(300)
    @given(st.lists(st.sampled_from(WORDS), max_size=60).map("".join))
    def test_any_scraps_of_yaml(self, folder, text):
        (folder / "any.yaml").write_text(text, encoding="utf-8", newline="")
        data = outcome(read_yaml, folder / "any.yaml")
        if data is not None:
            outcome(parse, data)

    @examples(300)
    @given(st.text(max_size=12), st.text(max_size=12))
    @example("state_points.0.kT", "1e400")
    def test_any_assignment(self, path, value):
        data = outcome(override, minimal(), [f"{path}={value}"])
        if data is not None:
            outcome(parse, data)

    @examples(500)
    @given(damaged())
    def test_any_values(self, folder, data):
        config = outcome(parse, data)
        resolved = None if config is None else outcome(resolve, config, folder)
        if resolved is not None:
            assert isinstance(resolved, Config)
            (folder / "written.yaml").write_text(to_yaml(resolved), encoding="utf-8")
            assert parse(read_yaml(folder / "written.yaml")) == resolved

    @examples(40)
    @given(damaged())
    def test_any_plan(self, folder, data):
        config = outcome(parse, data)
        resolved = None if config is None else outcome(resolve, config, folder)
        if resolved is not None and resolved.system.n_atoms <= 1000 and resolved.system.cells is None:
            outcome(plan, resolved, folder)


def job(folder, *, resume):
    return FitJob(
        potential=PairPotential(LennardJones(), cutoff=2.0),
        state_points=[],
        seed=0,
        folder=folder,
        resume=resume,
        progress=False,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder with a checkpoint, its bytes, and what it holds."""
    path = tmp_path_factory.mktemp("checkpoint")
    with ResultFolder.opened(path, KIND) as folder:
        job(folder, resume=False).save_checkpoint(epoch=1, mean=[torch.zeros(3)])
        yield folder, (path / CHECKPOINT).read_bytes(), torch.load(path / CHECKPOINT, weights_only=True)


class TestCheckpoints:
    @examples(100)
    @given(st.binary(max_size=300))
    @example(b"")
    @example(b"PK\x03\x04")
    @example(b"\x80\x02}q\x00.")
    def test_any_bytes(self, checkpoint, data):
        folder, _, _ = checkpoint
        (folder.path / CHECKPOINT).write_bytes(data)
        outcome(job(folder, resume=True).load_checkpoint)

    @examples(100)
    @given(st.integers(0, 10**6), st.integers(0, 10**6), st.binary(min_size=1, max_size=20))
    def test_a_damaged_file(self, checkpoint, start, end, patch):
        folder, sound, _ = checkpoint
        start, end = start % len(sound), end % len(sound)
        damaged = sound[:end] if start > end else sound[:start] + patch + sound[start + len(patch) :]
        (folder.path / CHECKPOINT).write_bytes(damaged)
        outcome(job(folder, resume=True).load_checkpoint)

    @examples(150)
    @given(st.data())
    def test_other_contents(self, checkpoint, data):
        folder, _, sound = checkpoint
        state = copy.deepcopy(sound)
        for _ in range(data.draw(st.integers(1, 2))):
            key = data.draw(st.sampled_from(sorted(sound)))
            if data.draw(st.booleans()):
                state.pop(key, None)
            else:
                state[key] = data.draw(VALUES)
        torch.save(state, folder.path / CHECKPOINT)
        outcome(job(folder, resume=True).load_checkpoint)

    def test_a_sound_one_is_read(self, checkpoint):
        folder, sound, _ = checkpoint
        (folder.path / CHECKPOINT).write_bytes(sound)
        assert job(folder, resume=True).load_checkpoint()["epoch"] == 1
