"""gaussian-ode: a deforming cloud of Gaussians, whose displacements follow learned dynamics past the window."""
