"""Gaussians that an ODE moves: learned from the observed window, solved beyond it."""
