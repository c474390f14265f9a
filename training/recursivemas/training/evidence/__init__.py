"""The measured tables of `docs/evidence/`: `python -m recursivemas.training.evidence`."""
