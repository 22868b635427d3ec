"""rigid-ode: rigid parts found from silhouettes, which move by learned second-order dynamics or by impacts."""
