"""Reading measured stacks in the formats of microscopes and of Felix."""
