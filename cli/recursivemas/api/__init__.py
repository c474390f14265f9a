"""What `import recursivemas` offers: load a system, ask it, evaluate it, train its links, compile and build."""
