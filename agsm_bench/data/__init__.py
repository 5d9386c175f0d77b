"""Data of the photo domain: getting it, checking it, and reading COCO. No torch here."""
