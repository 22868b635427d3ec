"""4D Gaussians: a canonical cloud that feature planes over space and time displace. A baseline."""
