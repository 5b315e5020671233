"""Where a net looks: heat maps on an absolute scale."""
