"""What the project claims, and how each claim is shown. Nothing imports this package."""
