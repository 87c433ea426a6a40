"""The place where a cohort is run: its scheduler, its disks, and how far the results are."""
