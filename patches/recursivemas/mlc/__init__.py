"""MLC-LLM, imported without its native library and patched in memory to expose hidden states."""
