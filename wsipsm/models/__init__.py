"""Networks, stain mixing, and pixels to instances: no files, no workflow."""
