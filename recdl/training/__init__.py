"""Floor 4: losses, Lightning modules, and the neural recommenders around them."""
