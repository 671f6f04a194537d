"""One module for each file format, each with `write(array, path)` and, where it can be read back, `read(path)`."""
