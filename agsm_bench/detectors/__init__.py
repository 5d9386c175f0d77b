"""What finds the objects of a picture for GenEval's verdicts: one file a detector, each with a DETECTOR."""
