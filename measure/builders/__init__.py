"""Builders of files and modules that runtimes execute, from a `Network`; one module per target."""
