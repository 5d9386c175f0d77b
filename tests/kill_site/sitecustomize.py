"""Python imports this at its start, where the folder is on $PYTHONPATH: see `kill_points.environment`."""

from kill_points import arm_by_environment

arm_by_environment()
