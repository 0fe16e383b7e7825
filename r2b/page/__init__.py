"""``report.html``: what a compilation gave, on one page that needs nothing else."""
