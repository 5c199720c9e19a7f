"""Rows, tokens and batches: from a spec's streams to what the encoder reads."""
