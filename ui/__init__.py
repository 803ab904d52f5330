"""The page: one package per tab, and what the tabs share. The only room that knows Gradio."""
