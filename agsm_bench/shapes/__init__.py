"""The embedded miniature world: scenes of coloured shapes, their captions, detector and models."""
