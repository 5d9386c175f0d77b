"""`agsm-bench view`: a folder of static pages that shows runs side by side, numbers and pictures."""
