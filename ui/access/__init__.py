"""Who may come in and do what: the gate, logging in, roles, bounded requests."""
