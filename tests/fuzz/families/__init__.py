"""One module a kind of input; each has `FAMILIES`, which `tests.fuzz.family.families` finds by itself."""
