"""Showing: one module per tab, the theme, the two languages. The only room that knows Gradio."""

import os

# Gradio reads this while it is imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
