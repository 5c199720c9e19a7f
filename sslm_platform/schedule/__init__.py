"""What is trained when: the step plan, the same on every rank."""
