"""Noise processes and classifier-free guidance, shared by training and sampling."""
