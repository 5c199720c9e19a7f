"""The shared encoder, its tokenizer, and the heads on top of it."""
