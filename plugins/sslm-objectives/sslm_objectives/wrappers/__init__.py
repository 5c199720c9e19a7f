"""What training makes of an objective: adversarial passes, and agreement between passes."""
