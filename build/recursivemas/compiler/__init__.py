"""From a Hugging Face checkpoint to a browser-ready agent folder. Needs TVM, never torch."""
