"""Samplers, one idea a file."""
