from sweeps import no_process_stays, one_thread, outputs, undisturbed  # noqa: F401
