"""The programs of the reference guest."""
