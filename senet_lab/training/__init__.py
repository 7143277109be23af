"""One run: seeding, the device engine, the epoch loop."""
