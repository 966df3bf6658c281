"""Selection: real images, chosen and kept as they are."""
