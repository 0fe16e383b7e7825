"""No test at all, for the runner's own tests."""
