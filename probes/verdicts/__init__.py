"""What may be believed of a variant, and with what statistics."""
