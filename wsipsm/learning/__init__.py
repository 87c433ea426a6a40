"""Training that the stages share: tiles, augmentation, one loop."""
