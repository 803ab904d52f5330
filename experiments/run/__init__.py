"""Running a plan: `python -m experiments.run PLAN.yaml --out DIR`."""
