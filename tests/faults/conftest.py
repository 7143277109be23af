from sweeps import one_thread, outputs, undisturbed  # noqa: F401
