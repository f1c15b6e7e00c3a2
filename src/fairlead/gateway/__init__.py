"""One model request: identify, look up, choose, call, record."""
