"""What is measured of a run besides the benchmark's own verdicts: one file a metric, each with a METRIC.

A metric's domain says which runs it measures; all of them are measured by every `eval` and `score`.
"""
