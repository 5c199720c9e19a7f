"""Engines: backward, step and state, in one process or sharded over many."""
