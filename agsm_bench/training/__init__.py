"""The one training loop of all trainers."""
