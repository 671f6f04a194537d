"""Felix, the Fortran and Python programs of the University of Warwick: what its input folders say, said here."""
