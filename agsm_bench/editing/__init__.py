"""What editing methods are made of: predictions by branch, DDIM and its inversion, features that are exchanged."""
