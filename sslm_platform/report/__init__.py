"""From the records of a run to what a reader sees."""
