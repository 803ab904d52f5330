"""Training jobs: queued, started as processes of their own, watched and stopped."""
