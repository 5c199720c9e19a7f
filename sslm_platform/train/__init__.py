"""Joint training: the loop, selection on dev splits, checkpoints, and the run folder."""
