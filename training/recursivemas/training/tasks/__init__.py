"""Questions and scoring: synthetic tasks for tiny systems, data sets, and how an answer is compared."""
