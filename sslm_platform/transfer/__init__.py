"""The transfer lab: which cells a spec asks for, and measuring them."""
