"""Catalogues from databases on the network: one file for each database, and what they share."""
