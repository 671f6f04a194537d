"""Catalogues of crystals: many structures in one Parquet file, each with its source and licence."""
