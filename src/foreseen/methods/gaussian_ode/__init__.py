"""Gaussian ODE: Gaussians moved by a law that is learned from the observed window and rolled out past it."""
