"""Data and scoring: synthetic tasks for tiny systems, and how an answer is judged."""
