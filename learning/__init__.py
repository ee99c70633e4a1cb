"""What history teaches: features, labels, probabilities. Knows no cash, no network, no clock."""
