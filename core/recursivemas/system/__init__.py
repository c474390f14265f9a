"""What training, build and the page's generator share: typed systems, link files, manifests. Neither torch nor TVM."""
