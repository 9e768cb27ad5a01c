"""The compiled loops on CUDA devices (Triton): see `docs/kernels.md`."""
