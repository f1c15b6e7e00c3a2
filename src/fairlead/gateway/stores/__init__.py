"""Where cached answers persist; one contract, one test suite."""
