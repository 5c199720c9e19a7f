"""Specs: what they may say (schema), how they are read (load), and what their names mean (resolve)."""
