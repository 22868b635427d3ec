"""Node-RF: a latent neural ODE, and a radiance field conditioned on its decoded state."""
