"""Hot loops: the definition in plain torch and the fused versions that agree with it."""
