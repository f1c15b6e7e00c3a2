"""One benchmark per promise; each prints what it measured with the machine, versions and seed."""
