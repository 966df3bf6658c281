"""Training of classifiers: one network, several at once, the pool of extractors."""
