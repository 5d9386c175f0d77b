"""Whether this machine has what a run needs: packages, models, data, device, memory and disk."""
