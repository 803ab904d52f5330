"""Teaching: data sets, training, jobs, and adapters written into their base."""
