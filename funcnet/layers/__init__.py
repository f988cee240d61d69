"""The layers, one file a family: the mathematics, the residuals, forward, vjp and init side by side."""
