"""Screens, one per file. They call the services through the backend, and draw with widgets."""
