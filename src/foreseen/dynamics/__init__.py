"""Dynamics that are learned from poses: a second-order ODE on the surface that the poses lie on, impacts of balls, and
constant-velocity extrapolation; with ensembles that give the uncertainty."""
