"""A law of motion learned from poses: the surface that they lie on, a force on it, forecasts and their spread."""
