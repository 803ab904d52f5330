"""The page's named endpoints for scripts (gradio_client)."""
