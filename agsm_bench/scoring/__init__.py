"""One pass over images for any number of metrics: items -> judges -> scores, each image decoded once."""
