"""A small picture that the tests of the page share."""

SMALL = {"name": "Si", "detail": 32, "extent": 2, "thickness_max": 600, "thickness_step": 100, "thickness": 300}
