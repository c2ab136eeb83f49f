"""A fuzzer of the command line: valid files are damaged at random, and no command may answer with a traceback."""
