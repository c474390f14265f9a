"""Training links: pairs of what agents write, the inner loop, alignment, the outer loop, and their order."""
