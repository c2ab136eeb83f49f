"""Commands that join the other packages: `python -m gnomon VERB`. It may import all of them, and none imports it."""
