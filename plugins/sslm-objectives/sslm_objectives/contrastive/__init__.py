"""Texts and parts of texts, compared with each other."""
