"""Balancers, one idea a file."""
