"""agsm-bench: train, evaluate and report post-training of text-to-image diffusion models."""

__version__ = "0.1.0"
