"""The main job: the whole loop on one machine, on real images, with real processes."""
