import numpy as np
import pytest
import torch
from sampling import seed, sigmas

from asediff.kernels.noise import philox_normal, philox_normal_scalar, philox_words


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        # known answers of the Random123 distribution (kat_vectors, philox4x32 10)
        ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_words_equal_the_published_answers(key, counter, expected):
    words = philox_words(tuple(torch.tensor([k]) for k in key), tuple(torch.tensor([c]) for c in counter))
    assert tuple(int(w) for w in words) == expected


def test_compiled_numbers_equal_the_torch_ones():
    seeds = torch.tensor([3, -17, 2**62 + 12345])
    system_idx = torch.tensor([0] * 5 + [1] * 7 + [2] * 4)
    atom = torch.cat([torch.arange(5), torch.arange(7), torch.arange(4)])
    for step in (0, 1, 2**32 + 9):
        expected = philox_normal(seeds, system_idx, atom, step).numpy()
        found = [
            philox_normal_scalar(np.int64(seeds[s]).astype(np.uint64), np.uint64(a), np.uint64(step))
            for s, a in zip(system_idx.numpy(), atom.numpy(), strict=True)
        ]
        # the same operations in the same order; sin, cos and log may differ in the last digit
        np.testing.assert_allclose(np.array(found), expected, rtol=0, atol=1e-14)


@pytest.mark.sampled
def test_numbers_are_standard_normal_and_independent():
    n = 40_000
    draws = [
        philox_normal(torch.tensor([seed(5)]), torch.zeros(n, dtype=torch.int64), torch.arange(n), s) for s in (0, 1)
    ]
    sample = torch.cat(draws, dim=1).numpy()
    # standard errors: mean and correlation 1/sqrt(n), variance sqrt(2/n), fourth moment sqrt(96/6n)
    limit = sigmas(comparisons=6 + 6 + 15 + 1)
    assert np.abs(sample.mean(0)).max() < limit / n**0.5
    assert np.abs(sample.var(0) - 1.0).max() < limit * (2 / n) ** 0.5
    correlation = np.corrcoef(sample.T) - np.eye(6)
    assert np.abs(correlation).max() < limit / n**0.5
    assert abs((sample**4).mean() - 3.0) < limit * (16 / n) ** 0.5
