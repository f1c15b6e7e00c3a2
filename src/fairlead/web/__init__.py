"""HTTP only: requests to calls, errors to status codes."""
