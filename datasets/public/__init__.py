"""Public measurements, one source a file, and how they are fetched and read."""
