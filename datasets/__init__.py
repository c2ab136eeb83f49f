"""What exists (architectures, devices) and what was measured of it; imports nothing else of ours."""
