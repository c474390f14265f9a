"""The tiny agents of the shipped systems, made from their seeds: `python -m recursivemas.training.tiny`."""
