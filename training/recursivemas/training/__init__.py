"""RecursiveLink training and the PyTorch reference of the recursion. Needs torch, never TVM."""
