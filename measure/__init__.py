"""Labels: builds networks for runtimes and times them under a stated protocol."""
