"""The upstream leg: HTTP clients behind one narrow contract."""
