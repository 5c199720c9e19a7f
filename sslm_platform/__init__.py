"""Multi-task learning of language models: train one encoder jointly, see what transfers to what."""

__version__ = "0.1.0"
