"""The compiled loops on CPUs (numba): see `docs/kernels.md`."""
