"""What all other packages share: formats, lists of names, prompts, errors and files. Needs neither torch nor TVM."""
