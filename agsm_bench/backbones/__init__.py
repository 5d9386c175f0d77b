"""Backbones, one file each; the file name is the command-line name (`_` for `-`)."""
