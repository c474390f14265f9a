"""`rmas eval`: accuracy with intervals, baselines and controls, and the report of them."""
