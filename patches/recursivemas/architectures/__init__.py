"""The record of which architectures build, and how each compares with transformers. Needs TVM and torch."""
