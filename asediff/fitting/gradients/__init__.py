"""Methods that follow a gradient of a loss with respect to the parameters of a potential."""
