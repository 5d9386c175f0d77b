"""Editing methods, one file each; the file name is the command-line name."""
