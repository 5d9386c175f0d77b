"""Soft text tokens: the module, attaching it to a diffusers model, its checkpoint."""
