"""Reusable widgets. They know the model and the pure text helpers, never a service or a screen."""
