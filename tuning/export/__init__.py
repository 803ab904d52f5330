"""An adapter carried away as a model: a folder, a GGUF file or an Ollama model, and what became of its answers."""
