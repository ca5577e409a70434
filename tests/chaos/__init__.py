"""The daemon under fire: a random workload, faults at random instants, then quiet and a verdict.

`make chaos SEED=17 MINUTES=30` runs one seed by hand; `tests/e2e/test_chaos.py` runs a few short ones.
What is done is a plan (`plan.py`), which the seed alone decides; `campaign.py` carries it out, `proxy.py`
stands between the replicas and the search server, `verdict.py` judges.
"""
