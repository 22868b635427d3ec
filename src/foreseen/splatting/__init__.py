"""A cloud of Gaussians that is optimised under a budget: what all methods that splat Gaussians share."""
