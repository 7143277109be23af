"""What all tests share."""

import gc

# A full collection goes over half a million objects that imports have made: a tenth as often as by default.
gc.set_threshold(*gc.get_threshold()[:2], 100)
